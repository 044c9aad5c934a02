-- What reading and writing share: who calls and in which version of the contract, records of whatever kind as JSON, outcomes, and the
-- objects of pictures. The JSON is that of src/cloud/wire.rs.

-- The versions of the contract that are spoken here. PT426 becomes the status 426.
create or replace function cogfs.protocol() returns json
language sql immutable
return '{"min": 1, "max": 1}'::json;

create or replace function cogfs.check_caller(protocol integer) returns uuid
language plpgsql stable set search_path = '' as $$
declare
    spoken json := cogfs.protocol();
begin
    if protocol is null or protocol < (spoken ->> 'min')::integer or protocol > (spoken ->> 'max')::integer then
        raise sqlstate 'PT426' using
            message = format('this server speaks versions %s to %s of the protocol, the program speaks %s',
                             spoken ->> 'min', spoken ->> 'max', coalesce(protocol::text, 'none')),
            hint = case when protocol > (spoken ->> 'max')::integer
                then 'Install the migrations of this version of cogfs on the server.' else 'Update cogfs.' end;
    end if;
    if auth.uid() is null then
        raise sqlstate 'PT401' using message = 'no user is logged in';
    end if;
    return auth.uid();
end
$$;

create or replace function cogfs.table_of(kind text) returns text
language sql immutable
return case kind when 'machine' then 'machines' when 'project' then 'projects' when 'commit' then 'cognitive_commits'
    when 'session' then 'sessions' end;

-- A record of whatever kind.
do $$
begin
    if to_regtype('cogfs.record') is null then
        create type cogfs.record as (
            kind text, id uuid, seq bigint, version bigint, fields_at timestamptz, fields_by uuid, facts_by uuid, rank bigint,
            facts jsonb, fields jsonb, session_id uuid, number integer, merged_into uuid, forgotten boolean
        );
    end if;
end
$$;

create or replace function cogfs.row_json(r cogfs.record) returns json
language sql stable
return json_build_object(
    'kind', r.kind, 'id', r.id, 'seq', coalesce(r.seq, 0), 'version', r.version, 'fields_at', cogfs.millis_of(r.fields_at),
    'fields_by', r.fields_by, 'facts_by', r.facts_by, 'rank', coalesce(r.rank, 0), 'facts', r.facts,
    'fields', coalesce(r.fields, '{}'),
    'turn', case when r.session_id is not null then json_build_array(r.session_id, r.number) end,
    'merged_into', r.merged_into, 'forgotten', r.forgotten
);

-- A user's record; its id is null where there is none.
create or replace function cogfs.find(uid uuid, kind text, id uuid, session uuid default null) returns cogfs.record
language plpgsql stable set search_path = '' as $$
declare
    r cogfs.record;
begin
    if kind = 'turn' then
        select 'turn', t.id, t.seq, t.version, t.fields_at, t.fields_by, null, 0, null, t.fields, t.session_id, t.number, null, t.forgotten
        into r from public.turns t
        where t.user_id = uid and t.id = find.id and (session is null or t.session_id = session) limit 1;
    elsif kind = 'session' then
        select 'session', s.id, s.seq, s.version, s.fields_at, s.fields_by, s.facts_by, s.rank, s.facts, s.fields, null, null,
               s.merged_into, s.forgotten
        into r from public.sessions s where s.user_id = uid and s.id = find.id;
    elsif kind = 'commit' then
        select 'commit', c.id, c.seq, c.version, c.fields_at, c.fields_by, c.facts_by, c.rank, c.facts, c.fields, null, null,
               c.merged_into, c.forgotten
        into r from public.cognitive_commits c where c.user_id = uid and c.id = find.id;
    elsif kind = 'project' then
        select 'project', p.id, p.seq, p.version, p.fields_at, p.fields_by, p.facts_by, p.rank, p.facts, p.fields, null, null,
               p.merged_into, p.forgotten
        into r from public.projects p where p.user_id = uid and p.id = find.id;
    elsif kind = 'machine' then
        select 'machine', m.id, m.seq, m.version, m.fields_at, m.fields_by, m.facts_by, m.rank, m.facts, m.fields, null, null,
               m.merged_into, m.forgotten
        into r from public.machines m where m.user_id = uid and m.id = find.id;
    else
        raise invalid_parameter_value using message = format('no kind of record: %s', coalesce(kind, 'null'));
    end if;
    return r;
end
$$;

-- The record that an id stands for, behind all mergers.
create or replace function cogfs.resolve(uid uuid, kind text, id uuid) returns cogfs.record
language plpgsql stable set search_path = '' as $$
declare
    r cogfs.record := cogfs.find(uid, kind, id);
begin
    while r.merged_into is not null loop
        r := cogfs.find(uid, kind, r.merged_into);
    end loop;
    return r;
end
$$;

-- Outcomes.
create or replace function cogfs.applied(version bigint, seq bigint, unused jsonb default '[]') returns jsonb
language sql immutable
return jsonb_build_object('status', 'applied', 'version', coalesce(version, 0), 'seq', coalesce(seq, 0))
    || case when unused = '[]' then '{}' else jsonb_build_object('unused', unused) end;

create or replace function cogfs.refused(code text, message text) returns jsonb
language sql immutable
return jsonb_build_object('status', 'refused', 'code', code, 'message', message);

-- What a record's state says of any change of it: it was forgotten, or is a part of another. Null: nothing.
create or replace function cogfs.closed(uid uuid, r cogfs.record) returns jsonb
language plpgsql stable set search_path = '' as $$
begin
    if r.forgotten then
        return '{"status": "forgotten"}';
    end if;
    if r.merged_into is not null then
        return jsonb_build_object('status', 'merged', 'into', (cogfs.resolve(uid, r.kind, r.id)).id);
    end if;
    return null;
end
$$;

-- Notes those of the objects that nothing shows any more, and gives all that wait to be removed.
create or replace function cogfs.unused_objects(uid uuid, names text[]) returns jsonb
language plpgsql set search_path = '' as $$
begin
    update public.visual_objects o set unused_at = clock_timestamp()
    where o.user_id = uid and o.name = any(names) and o.unused_at is null
      and not exists (select from public.visuals v where v.user_id = uid and v.object_name = o.name);
    return coalesce((select jsonb_agg(uid || '/' || o.name order by o.name) from
        (select name from public.visual_objects where user_id = uid and unused_at is not null limit 1000) o), '[]');
end
$$;

-- Brings the pictures of a session in step with its facts. Gives the objects to remove, where pictures went.
create or replace function cogfs.push_visuals(uid uuid, session uuid, shown jsonb) returns jsonb
language plpgsql set search_path = '' as $$
declare
    before text[] := array(select v.object_name from public.visuals v where v.user_id = uid and v.session_id = session);
    after text[];
begin
    insert into public.visual_objects as o(user_id, name, size)
    select uid, cogfs.object_name(v.sha256, v.mime), max(v.bytes)
    from jsonb_to_recordset(shown) as v(sha256 text, mime text, bytes bigint) group by 2
    on conflict (user_id, name) do update set unused_at = null where o.unused_at is not null;
    delete from public.visuals v where v.user_id = uid and v.session_id = session
        and v.id not in (select n.id from jsonb_to_recordset(shown) as n(id uuid) where n.id is not null);
    insert into public.visuals as v(user_id, session_id, id, turn, ordinal, file_name, sha256, mime, bytes, captured_at)
    select uid, session, n.id, n.turn, n.ordinal, n.file_name, n.sha256, n.mime, n.bytes, cogfs.time_of(n.captured_at)
    from jsonb_to_recordset(shown) as n(id uuid, turn integer, ordinal integer, file_name text, sha256 text, mime text,
                                       bytes bigint, captured_at bigint)
    on conflict (user_id, session_id, id) do update set turn = excluded.turn, ordinal = excluded.ordinal,
        file_name = excluded.file_name, sha256 = excluded.sha256, mime = excluded.mime, bytes = excluded.bytes,
        captured_at = excluded.captured_at;
    after := array(select v.object_name from public.visuals v where v.user_id = uid and v.session_id = session);
    if before <@ after then
        return '[]';
    end if;
    return cogfs.unused_objects(uid, before);
end
$$;
