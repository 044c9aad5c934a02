-- What Supabase has and a plain PostgreSQL 15 behind PostgREST lacks: the roles, and who is asking. And the schema for what the
-- API does not show: PostgREST serves `public` alone.

do $$
begin
    if not exists (select from pg_roles where rolname = 'anon') then
        create role anon nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'authenticated') then
        create role authenticated nologin;
    end if;
    -- PostgREST logs in as this one. It has no password: who installs gives it one (README.md).
    if not exists (select from pg_roles where rolname = 'authenticator') then
        create role authenticator login noinherit;
        grant anon, authenticated to authenticator;
        -- As on Supabase: no request may hold the head of its user for long.
        alter role anon set statement_timeout = '3s';
        alter role authenticated set statement_timeout = '8s';
        alter role authenticator set statement_timeout = '8s';
    end if;

    if to_regnamespace('auth') is null then
        create schema auth;
    end if;
    if to_regprocedure('auth.uid()') is null then
        execute $function$
            create function auth.uid() returns uuid language sql stable as $body$
                select coalesce(
                    nullif(current_setting('request.jwt.claim.sub', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
                )::uuid
            $body$
        $function$;
        grant usage on schema auth to anon, authenticated;
        grant execute on function auth.uid() to anon, authenticated;
    end if;
end
$$;

create schema if not exists cogfs;
revoke all on schema cogfs from public;
grant usage on schema public, cogfs to authenticated;
grant usage on schema public to anon;

-- Functions whose body is a `return` are bound when they are made: no search path changes what they call. One that sets it all the
-- same is not inlined, which costs more than what it does.

-- Milliseconds since the epoch, as all times on the wire are.
create or replace function cogfs.time_of(millis bigint) returns timestamptz
language sql immutable strict parallel safe
return to_timestamp(millis / 1000::double precision);

create or replace function cogfs.millis_of(at timestamptz) returns bigint
language sql immutable strict parallel safe
return floor(extract(epoch from at) * 1000)::bigint;

-- The name that a picture has in the bucket, without the user's folder.
create or replace function cogfs.object_name(sha256 text, mime text) returns text
language sql immutable parallel safe
return sha256 || '.' || case mime
    when 'image/png' then 'png'
    when 'image/jpeg' then 'jpg'
    when 'image/gif' then 'gif'
    when 'image/webp' then 'webp'
    when 'image/svg+xml' then 'svg'
    else 'bin'
end;
