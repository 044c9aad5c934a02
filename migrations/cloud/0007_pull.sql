-- What is read: the records behind a cursor, the contents of sessions, the account's state. Each is one statement of one snapshot,
-- so that a head which is seen has all its records beside it.

-- JSON that is an answer as it is: of other JSON that a function returns, PostgREST makes an array, and takes its first element out
-- again, which reads all of it. One that knows no such types (before 12) does that here too.
do $$
begin
    if to_regtype('cogfs."application/json"') is null then
        create domain cogfs."application/json" as json;
    end if;
end
$$;

drop function if exists public.sync_pull(integer, bigint, integer), public.fetch_contents(integer, uuid[], json);
create or replace function public.sync_pull(protocol integer, since bigint, max integer) returns cogfs."application/json"
language plpgsql stable set search_path = '' as $$
declare
    uid uuid := cogfs.check_caller(protocol);
    page integer := least(greatest(coalesce(max, 1000), 1), 10000);
    behind bigint := coalesce(since, 0);
    head bigint;
    min_seq bigint;
    given integer;
    last bigint;
    more boolean;
    rows json;
begin
    select h.seq, h.min_seq into head, min_seq from public.sync_heads h where h.user_id = uid;
    head := coalesce(head, 0);
    -- Sizes first, how far some 8 MB of facts go; then what lies up to there, a scan of each table by its numbers. One snapshot: that
    -- of the statement that called, for the function is stable.
    with behind_it as (
        (select r.seq, r.bytes from public.machines r where r.user_id = uid and r.seq > behind order by r.seq limit page + 1)
        union all
        (select r.seq, r.bytes from public.projects r where r.user_id = uid and r.seq > behind order by r.seq limit page + 1)
        union all
        (select r.seq, r.bytes from public.cognitive_commits r where r.user_id = uid and r.seq > behind order by r.seq limit page + 1)
        union all
        (select r.seq, r.bytes from public.sessions r where r.user_id = uid and r.seq > behind order by r.seq limit page + 1)
        union all
        (select r.seq, 200 from public.turns r where r.user_id = uid and r.seq is not null and r.seq > behind order by r.seq limit page + 1)
    ), counted as (
        select b.seq, sum(b.bytes + 300) over by_seq as total, row_number() over by_seq as place
        from behind_it b window by_seq as (order by b.seq rows unbounded preceding)
    )
    select count(*) filter (where c.fits), coalesce(max(c.seq) filter (where c.fits), behind), coalesce(bool_or(not c.fits), false)
    into given, last, more
    from (select c.seq, c.place <= page and (c.place = 1 or c.total <= 8 * 1024 * 1024) as fits from counted c) c;
    -- A row as a whole takes two thirds of the time of naming each of its values, as cogfs.row_json does.
    select coalesce(json_agg(p), '[]') into rows from (
        select * from (
            (select 'machine' as kind, r.id, r.seq, r.version, cogfs.millis_of(r.fields_at) as fields_at, r.fields_by, r.facts_by, r.rank, r.facts,
                    r.fields, null::json as turn, r.merged_into, r.forgotten
             from public.machines r where r.user_id = uid and r.seq > behind and r.seq <= last order by r.seq)
            union all
            (select 'project' as kind, r.id, r.seq, r.version, cogfs.millis_of(r.fields_at) as fields_at, r.fields_by, r.facts_by, r.rank, r.facts,
                    r.fields, null::json as turn, r.merged_into, r.forgotten
             from public.projects r where r.user_id = uid and r.seq > behind and r.seq <= last order by r.seq)
            union all
            (select 'commit' as kind, r.id, r.seq, r.version, cogfs.millis_of(r.fields_at) as fields_at, r.fields_by, r.facts_by, r.rank, r.facts,
                    r.fields, null::json as turn, r.merged_into, r.forgotten
             from public.cognitive_commits r where r.user_id = uid and r.seq > behind and r.seq <= last order by r.seq)
            union all
            (select 'session' as kind, r.id, r.seq, r.version, cogfs.millis_of(r.fields_at) as fields_at, r.fields_by, r.facts_by, r.rank, r.facts,
                    r.fields, null::json as turn, r.merged_into, r.forgotten
             from public.sessions r where r.user_id = uid and r.seq > behind and r.seq <= last order by r.seq)
            union all
            (select 'turn', r.id, r.seq, r.version, cogfs.millis_of(r.fields_at), r.fields_by, null, 0, null,
                    coalesce(r.fields, '{}'), json_build_array(r.session_id, r.number), null, r.forgotten
             from public.turns r where r.user_id = uid and r.seq is not null and r.seq > behind and r.seq <= last order by r.seq)
        ) r order by r.seq
    ) p;
    return json_build_object(
        'protocol', cogfs.protocol(), 'rows', rows,
        -- Numbers may be given and not used: at the end the cursor is the head.
        'next', case when more or given = page then last else greatest(head, behind) end,
        'head', greatest(head, case when head < behind then behind else 0 end), 'min_seq', coalesce(min_seq, 0),
        'now', cogfs.millis_of(clock_timestamp())
    );
end
$$;

-- Contents of sessions, in the order of the ids, some 8 MB an answer: turns by number, then raw records; costs with the first part.
-- Sessions that are not there, forgotten or still without facts are passed over.
create or replace function public.fetch_contents(protocol integer, ids uuid[], after json default null) returns cogfs."application/json"
language plpgsql stable set search_path = '' as $$
declare
    uid uuid := cogfs.check_caller(protocol);
    room bigint := 8 * 1024 * 1024;                   -- bytes left of the answer
    session uuid;
    begun boolean := after is null or json_typeof(after) = 'null';
    resumed boolean;
    seen uuid[] := '{}';
    row cogfs.record;
    last_turn bigint;
    given_before bigint;
    last_chunk bigint;
    turns json;
    chunks json;
    costs json;
    size bigint;
    until bigint;
    sessions json[] := '{}';
    whole boolean := true;
    more boolean;
    told boolean;                                     -- of this session something is given
begin
    foreach session in array coalesce(ids, '{}') loop
        resumed := not begun;
        if resumed then
            if session <> (after ->> 'session')::uuid then
                continue;
            end if;
            begun := true;
        end if;
        continue when session = any(seen);
        seen := seen || session;
        row := cogfs.find(uid, 'session', session);
        continue when row.id is null or row.facts is null or row.forgotten;
        if room <= 0 then
            whole := false;
            exit;
        end if;
        last_turn := case when resumed then (after ->> 'turn')::bigint else -1 end;
        last_chunk := case when resumed then (after ->> 'chunk')::bigint else -1 end;
        given_before := last_turn;
        turns := '[]'; chunks := '[]'; costs := '[]'; told := not resumed; more := false;
        room := room - 1000 - pg_column_size(row.facts);

        if not resumed then
            select coalesce(json_agg(json_build_object('key', u.key, 'model', u.model,
                       'tokens', json_build_array(u.input, u.output, u.cache_read, u.cache_write)) order by u.key), '[]'),
                   count(*) * 130
            into costs, size from public.message_usage u where u.user_id = uid and u.session_id = session;
            room := room - size;
        end if;

        -- How far the room goes, by the sizes alone; at least one turn, so that there is always progress.
        select max(t.number) filter (where t.fits), max(t.total) filter (where t.fits), coalesce(bool_or(not t.fits), false)
        into until, size, more from (
            select t.number, t.total, t.place = 1 or t.total <= room as fits from (
                select t.number, sum(t.bytes + 150) over (order by t.number) as total, row_number() over (order by t.number) as place
                from public.turns t where t.user_id = uid and t.session_id = session and t.number > last_turn and t.role is not null
            ) t
        ) t;
        if until is not null then
            select json_agg(t) into turns from (
                select t.number, t.id, t.role, t.at, t.model, t.label, t.images, t.tool_name, t.tool_call_id, t.tool_status, t.text,
                       t.tool_input, t.tool_output
                from public.turns t
                where t.user_id = uid and t.session_id = session and t.number > last_turn and t.number <= until and t.role is not null
                order by t.number
            ) t;
            last_turn := until;
            room := room - size;
            told := true;
        end if;
        if not more then
            select max(c.number) filter (where c.fits), max(c.total) filter (where c.fits), coalesce(bool_or(not c.fits), false)
            into until, size, more from (
                select c.number, c.total, c.total <= room or (c.place = 1 and last_turn = given_before) as fits from (
                    select c.number, sum(c.bytes * 4 / 3 + 80) over (order by c.number) as total,
                           row_number() over (order by c.number) as place
                    from public.raw_chunks c where c.user_id = uid and c.session_id = session and c.number > last_chunk
                ) c
            ) c;
            if until is not null then
                select json_agg(json_build_object('number', c.number, 'start', c.start, 'length', c.length,
                           'data', replace(encode(c.data, 'base64'), E'\n', '')) order by c.number)
                into chunks from public.raw_chunks c
                where c.user_id = uid and c.session_id = session and c.number > last_chunk and c.number <= until;
                last_chunk := until;
                room := room - size;
                told := true;
            end if;
        end if;
        whole := not more;
        if told then
            sessions := sessions || json_build_object('row', cogfs.row_json(row), 'turns', turns, 'raw', chunks, 'usage', costs);
        end if;
        after := json_build_object('session', session, 'turn', greatest(last_turn, 0), 'chunk', last_chunk);
        exit when not whole;
    end loop;
    if not begun then
        raise sqlstate 'PT400' using message = 'the place to go on at is in none of these sessions';
    end if;
    return json_build_object('sessions', array_to_json(sessions), 'next', case when not whole then after end);
end
$$;

create or replace function public.sync_status(protocol integer) returns json
language plpgsql stable set search_path = '' as $$
declare
    uid uuid := cogfs.check_caller(protocol);
    account public.accounts;
    allowed public.limits;
    head public.sync_heads;
begin
    select * into account from public.accounts where user_id = uid;
    if not found then
        -- Who pushed nothing yet has no account, and the plan that he would get.
        select trim(both '''' from split_part(pg_get_expr(d.adbin, d.adrelid), '::', 1)) into account.plan
        from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
        where d.adrelid = 'public.accounts'::regclass and a.attname = 'plan';
    end if;
    select * into head from public.sync_heads where user_id = uid;
    select * into allowed from public.limits where plan = account.plan;
    return json_build_object(
        'protocol', cogfs.protocol(), 'user', uid, 'plan', account.plan,
        'head', coalesce(head.seq, 0), 'min_seq', coalesce(head.min_seq, 0),
        'usage', json_build_object('commits', coalesce(account.commits, 0), 'bytes', coalesce(account.bytes, 0)),
        'limits', json_build_object('commits', allowed.commits, 'bytes', allowed.bytes),
        'now', cogfs.millis_of(clock_timestamp())
    );
end
$$;

revoke all on function public.sync_pull(integer, bigint, integer), public.fetch_contents(integer, uuid[], json),
    public.sync_status(integer) from public, anon;
grant execute on function public.sync_pull(integer, bigint, integer), public.fetch_contents(integer, uuid[], json),
    public.sync_status(integer) to authenticated;
