-- sync_push: changes of a machine, in their order, in one transaction, each with its outcome. It runs as the caller, under his row
-- security. The JSON is that of src/cloud/wire.rs; docs/CLOUD.md says what holds.

create or replace function cogfs.push_facts(
    uid uuid, machine uuid, kind text, id uuid, rank bigint, as_of bigint, facts jsonb, parent uuid
) returns jsonb
language plpgsql set search_path = '' as $$
declare
    was cogfs.record := cogfs.find(uid, kind, id);
    above cogfs.record;
    above_key text := case kind when 'commit' then 'project' when 'session' then 'commit' end;
    version bigint;
    seq bigint;
    raw_bytes bigint;
    unused jsonb := '[]';
    known_as_of bigint := 0;
begin
    if id is null or kind = 'turn' or (facts is not null and jsonb_typeof(facts) <> 'object') then
        return cogfs.refused('invalid', 'a record has an id, and its facts are an object; a turn has none');
    end if;
    if cogfs.closed(uid, was) is not null then
        return cogfs.closed(uid, was);
    end if;
    if above_key is not null then
        parent := coalesce((facts ->> above_key)::uuid, parent);
        above := cogfs.resolve(uid, above_key, parent);
        if above.id is null then
            return cogfs.refused('unknown_parent', format('the %s %s is not known', above_key, coalesce(parent::text, 'null')));
        elsif above.forgotten then
            return '{"status": "forgotten"}';
        end if;
        if facts is not null and above.id <> parent then
            facts := facts || jsonb_build_object(above_key, above.id);
        end if;
        parent := above.id;
    end if;
    if was.facts is not null and facts is not null and was.rank <= rank then
        execute format('select r.as_of from public.%I r where r.user_id = $1 and r.id = $2', cogfs.table_of(kind))
        into known_as_of using uid, id;
    end if;
    -- Facts that are as they were, but for when a machine last wrote them down, are no news. Of two of one rank those that were read
    -- later hold: a request may have been on its way while a newer one came.
    if was.id is not null and (facts is null or (was.facts is not null and (was.rank > rank or was.facts = facts
            or was.facts - 'updated_at' = facts - 'updated_at' or (was.rank = rank and as_of < known_as_of)))) then
        if was.rank > rank and was.facts is not null then
            -- The machine has less than it was told once, or was never told: it gets what there is.
            return jsonb_build_object('status', 'conflict', 'row', cogfs.row_json(was));
        end if;
        if facts is not null and (was.rank < rank or (was.rank = rank and known_as_of < as_of)) then
            -- Known at a higher rank now, or as of a later time; nothing to tell anybody.
            execute format('update public.%I r set rank = $3, as_of = greatest(r.as_of, $4) where r.user_id = $1 and r.id = $2',
                           cogfs.table_of(kind)) using uid, id, rank, as_of;
        end if;
        return cogfs.applied(was.version, was.seq);
    end if;

    as_of := coalesce(as_of, cogfs.millis_of(clock_timestamp()));
    if kind = 'session' and facts is not null then
        -- A machine that did not send itself yet is known by its id.
        if not exists (select from public.machines m where m.user_id = uid and m.id = (push_facts.facts ->> 'machine')::uuid) then
            insert into public.machines(user_id, id) values (uid, (push_facts.facts ->> 'machine')::uuid);
        end if;
    end if;
    -- Not by `on conflict`: its trigger for new rows would take a number as well. Sessions are many: their statements are planned once.
    if kind = 'session' and was.id is not null then
        update public.sessions r set rank = push_facts.rank, as_of = push_facts.as_of, facts = push_facts.facts, facts_by = push_facts.machine
        where r.user_id = uid and r.id = push_facts.id returning r.version, r.seq into version, seq;
    elsif kind = 'session' then
        insert into public.sessions as r(user_id, id, rank, as_of, facts, facts_by, commit_id)
        values (uid, push_facts.id, case when push_facts.facts is null then 0 else push_facts.rank end, push_facts.as_of, push_facts.facts,
                machine, parent)
        returning r.version, r.seq into version, seq;
    elsif was.id is not null then
        execute format('update public.%I r set rank = $3, facts = $4, facts_by = $5, as_of = $6
            where user_id = $1 and id = $2 returning r.version, r.seq', cogfs.table_of(kind))
        into version, seq using uid, id, rank, facts, machine, as_of;
    elsif kind = 'commit' then
        insert into public.cognitive_commits as r(user_id, id, rank, as_of, facts, facts_by, project_id)
        values (uid, push_facts.id, case when push_facts.facts is null then 0 else push_facts.rank end, push_facts.as_of, push_facts.facts,
                machine, parent)
        returning r.version, r.seq into version, seq;
    else
        execute format('insert into public.%I as r(user_id, id, rank, facts, facts_by, as_of)
            values ($1, $2, $3, $4, $5, $6) returning r.version, r.seq', cogfs.table_of(kind))
        into version, seq using uid, id, case when facts is null then 0 else rank end, facts, machine, as_of;
    end if;
    if kind = 'session' and facts is not null then
        -- Records that were cut anew may be fewer.
        raw_bytes := coalesce((facts ->> 'raw_bytes')::bigint, 9223372036854775807);
        if exists (select from public.raw_chunks r where r.user_id = uid and r.session_id = push_facts.id and r.start >= raw_bytes
                   and r.length > 0) then
            delete from public.raw_chunks r where r.user_id = uid and r.session_id = push_facts.id and r.start >= raw_bytes and r.length > 0;
        end if;
        if push_facts.facts -> 'visuals' is distinct from coalesce(was.facts -> 'visuals', '[]') then
            unused := cogfs.push_visuals(uid, push_facts.id, coalesce(push_facts.facts -> 'visuals', '[]'));
        end if;
    end if;
    return cogfs.applied(version, seq, unused);
end
$$;

-- Whether the fields are ones that a kind has, of their types; else what is wrong.
create or replace function cogfs.wrong_field(kind text, fields jsonb) returns text
language sql immutable
return (
    select format('a %s has no field "%s" of the type %s', kind, f.key, jsonb_typeof(f.value))
    from jsonb_each(fields) f
    where coalesce(not case
        when kind in ('commit', 'session', 'turn') and f.key = 'deleted_at' then jsonb_typeof(f.value) in ('number', 'null')
        when kind = 'project' and f.key = 'name' then jsonb_typeof(f.value) in ('string', 'null')
        when kind = 'commit' and f.key in ('title', 'note', 'project') then jsonb_typeof(f.value) in ('string', 'null')
        when kind = 'commit' and f.key in ('hidden', 'published') then jsonb_typeof(f.value) in ('boolean', 'null')
        when kind = 'commit' and f.key = 'order' then jsonb_typeof(f.value) in ('number', 'null')
        when kind = 'commit' and f.key = 'tags' then jsonb_typeof(f.value) in ('array', 'null')
    end, true)
    limit 1
);

create or replace function cogfs.push_fields(
    uid uuid, kind text, id uuid, base_version bigint, fields jsonb, session uuid, number integer
) returns jsonb
language plpgsql set search_path = '' as $$
declare
    was cogfs.record;
    above cogfs.record;
    project cogfs.record;
    version bigint;
    seq bigint;
begin
    if id is null or jsonb_typeof(fields) is distinct from 'object' or (kind = 'turn' and (session is null or number is null)) then
        return cogfs.refused('invalid', 'a change of fields has an id and fields, and of a turn its session and number');
    end if;
    if cogfs.wrong_field(kind, fields) is not null then
        return cogfs.refused('invalid', cogfs.wrong_field(kind, fields));
    end if;
    was := cogfs.find(uid, kind, id, session);
    if was.id is null and kind = 'turn' then
        above := cogfs.find(uid, 'session', session);
        if above.id is null then
            return cogfs.refused('unknown_parent', format('the session %s is not known', session));
        elsif above.forgotten then
            return '{"status": "forgotten"}';
        end if;
        was := ('turn', id, 0, 0, null, null, null, 0, null, '{}', session, number, null, false)::cogfs.record;
    elsif was.id is null then
        return cogfs.refused('unknown_parent', format('the %s %s is not known: its facts come first', kind, id));
    end if;
    if cogfs.closed(uid, was) is not null then
        return cogfs.closed(uid, was);
    end if;
    if fields ->> 'project' is not null then
        project := cogfs.resolve(uid, 'project', (fields ->> 'project')::uuid);
        if project.id is null or project.forgotten then
            return cogfs.refused('unknown_parent', format('the project %s is not known', fields ->> 'project'));
        end if;
        fields := fields || jsonb_build_object('project', project.id);
    end if;
    -- What it says already is no change, whatever it was made on: an answer that got lost is asked for again.
    if not exists (select from jsonb_each(push_fields.fields) f where f.value <> coalesce(was.fields -> f.key, 'null')) then
        return cogfs.applied(was.version, was.seq);
    end if;
    -- Of a record that nobody changed yet it is no matter which life of it is meant.
    if base_version is distinct from was.version and not (base_version = 0 and coalesce(was.fields, '{}') = '{}') then
        return jsonb_build_object('status', 'conflict', 'row', cogfs.row_json(was));
    end if;
    if kind = 'turn' then
        update public.turns t set fields = coalesce(t.fields, '{}') || push_fields.fields
        where t.user_id = uid and t.session_id = was.session_id and t.number = was.number and t.id = push_fields.id
        returning t.version, t.seq into version, seq;
        if not found then
            insert into public.turns as t(user_id, session_id, number, id, fields)
            values (uid, was.session_id, was.number, push_fields.id, push_fields.fields)
            on conflict on constraint turns_pkey do nothing
            returning t.version, t.seq into version, seq;
            if not found then
                return cogfs.refused('invalid', format('the turn %s of the session is another one', number));
            end if;
        end if;
    else
        execute format('update public.%I r set fields = r.fields || $3 where user_id = $1 and id = $2 returning r.version, r.seq',
                       cogfs.table_of(kind))
        into version, seq using uid, id, fields;
    end if;
    return cogfs.applied(version, seq);
end
$$;

-- Contents of a session: turns, records or costs, set by set. What is there already is not written again.
create or replace function cogfs.push_contents(uid uuid, op text, session uuid, contents jsonb) returns jsonb
language plpgsql set search_path = '' as $$
declare
    above_version bigint;
    above_seq bigint;
    above_forgotten boolean;
begin
    if jsonb_typeof(contents) is distinct from 'array' then
        return cogfs.refused('invalid', 'contents are a list');
    end if;
    select version, seq, forgotten into above_version, above_seq, above_forgotten
    from public.sessions where user_id = uid and id = session;
    if not found then
        return cogfs.refused('unknown_parent', format('the session %s is not known', coalesce(session::text, 'null')));
    elsif above_forgotten then
        return '{"status": "forgotten"}';
    end if;
    if op = 'turns' then
        insert into public.turns as t(user_id, session_id, number, id, role, at, model, label, images, tool_name, tool_call_id,
                                      tool_status, text, tool_input, tool_output)
        select uid, session, n.number, n.id, n.role, n.at, n.model, n.label, coalesce(n.images, 0), n.tool_name, n.tool_call_id,
               coalesce(n.tool_status, 0), coalesce(n.text, ''), n.tool_input, n.tool_output
        from jsonb_to_recordset(contents) as n(number integer, id uuid, role smallint, at bigint, model text, label text,
            images integer, tool_name text, tool_call_id text, tool_status smallint, text text, tool_input text, tool_output text)
        on conflict on constraint turns_pkey do update set id = excluded.id, role = excluded.role, at = excluded.at,
            model = excluded.model, label = excluded.label, images = excluded.images, tool_name = excluded.tool_name,
            tool_call_id = excluded.tool_call_id, tool_status = excluded.tool_status, text = excluded.text,
            tool_input = excluded.tool_input, tool_output = excluded.tool_output
        where not t.forgotten and (t.id, t.role, t.at, t.model, t.label, t.images, t.tool_name, t.tool_call_id, t.tool_status, t.text,
                                   t.tool_input, t.tool_output) is distinct from
            (excluded.id, excluded.role, excluded.at, excluded.model, excluded.label, excluded.images, excluded.tool_name,
             excluded.tool_call_id, excluded.tool_status, excluded.text, excluded.tool_input, excluded.tool_output);
    elsif op = 'raw' then
        -- Records that were cut anew: what lies across the new pieces is of the old cut.
        delete from public.raw_chunks r using jsonb_to_recordset(contents) as n(number integer, start bigint, length bigint)
        where r.user_id = uid and r.session_id = session and r.number <> n.number
          and r.start < n.start + n.length and n.start < r.start + r.length;
        insert into public.raw_chunks as r(user_id, session_id, number, start, length, data)
        select uid, session, n.number, n.start, n.length, decode(n.data, 'base64')
        from jsonb_to_recordset(contents) as n(number integer, start bigint, length bigint, data text)
        on conflict on constraint raw_chunks_pkey do update set start = excluded.start, length = excluded.length, data = excluded.data
        where (r.start, r.length, r.data) is distinct from (excluded.start, excluded.length, excluded.data);
    else
        insert into public.message_usage as u(user_id, session_id, key, model, input, output, cache_read, cache_write)
        select uid, session, n.key, n.model, (n.tokens ->> 0)::bigint, (n.tokens ->> 1)::bigint, (n.tokens ->> 2)::bigint,
               (n.tokens ->> 3)::bigint
        from jsonb_to_recordset(contents) as n(key uuid, model text, tokens jsonb)
        on conflict on constraint message_usage_pkey do update set model = excluded.model, input = excluded.input,
            output = excluded.output, cache_read = excluded.cache_read, cache_write = excluded.cache_write
        where (u.model, u.input, u.output, u.cache_read, u.cache_write) is distinct from
            (excluded.model, excluded.input, excluded.output, excluded.cache_read, excluded.cache_write);
    end if;
    return cogfs.applied(above_version, above_seq);
end
$$;

-- A commit or a project is a part of another: what is below it goes there.
create or replace function cogfs.push_merged(uid uuid, kind text, id uuid, into_id uuid) returns jsonb
language plpgsql set search_path = '' as $$
declare
    was cogfs.record;
    target cogfs.record;
    version bigint;
    seq bigint;
begin
    if kind not in ('commit', 'project') or id is null or into_id is null then
        return cogfs.refused('invalid', 'commits and projects are merged, each into another');
    end if;
    was := cogfs.find(uid, kind, id);
    target := cogfs.resolve(uid, kind, into_id);
    if was.forgotten or target.forgotten then
        return '{"status": "forgotten"}';
    elsif target.id is null then
        return cogfs.refused('unknown_parent', format('the %s %s is not known', kind, into_id));
    elsif was.merged_into is not null then
        was := cogfs.resolve(uid, kind, id);
        if was.id <> target.id then
            return jsonb_build_object('status', 'merged', 'into', was.id);
        end if;
        was := cogfs.find(uid, kind, id);
        return cogfs.applied(was.version, was.seq);
    elsif target.id = id then
        -- The other way round it is so already: they are one.
        return cogfs.applied(was.version, was.seq);
    end if;
    if kind = 'commit' then
        insert into public.cognitive_commits as r(user_id, id, merged_into) values (uid, push_merged.id, target.id)
        on conflict on constraint cognitive_commits_pkey do update set merged_into = excluded.merged_into
        returning r.version, r.seq into version, seq;
        update public.sessions s set commit_id = target.id,
            facts = case when s.facts is not null then s.facts || jsonb_build_object('commit', target.id) end
        where s.user_id = uid and s.commit_id = push_merged.id;
    else
        insert into public.projects as r(user_id, id, merged_into) values (uid, push_merged.id, target.id)
        on conflict on constraint projects_pkey do update set merged_into = excluded.merged_into
        returning r.version, r.seq into version, seq;
        update public.cognitive_commits c set
            project_id = case when c.facts is null then target.id else c.project_id end,
            facts = case when c.facts ->> 'project' = push_merged.id::text
                then c.facts || jsonb_build_object('project', target.id) else c.facts end,
            fields = case when c.fields ->> 'project' = push_merged.id::text
                then c.fields || jsonb_build_object('project', target.id) else c.fields end
        where c.user_id = uid and (c.project_id = push_merged.id or c.facts ->> 'project' = push_merged.id::text);
    end if;
    -- The target is told of as well, since what lies below it changed.
    execute format('update public.%I set touched = touched + 1 where user_id = $1 and id = $2', cogfs.table_of(kind)) using uid, target.id;
    return cogfs.applied(version, seq);
end
$$;

-- For good: contents, facts and fields go, and those of everything below; markers stay.
create or replace function cogfs.push_forget(uid uuid, kind text, id uuid) returns jsonb
language plpgsql set search_path = '' as $$
declare
    was cogfs.record := cogfs.find(uid, kind, id);
    below uuid[];
    version bigint;
    seq bigint;
    names text[];
begin
    if id is null then
        return cogfs.refused('invalid', 'a record has an id');
    end if;
    if was.forgotten then
        return cogfs.applied(was.version, was.seq, cogfs.unused_objects(uid, '{}'));
    end if;
    if was.merged_into is not null then
        return cogfs.closed(uid, was);
    end if;
    if kind = 'turn' then
        if was.id is not null then
            update public.turns t set forgotten = true, role = 0, fields = null, model = null, label = null, images = 0,
                tool_name = null, tool_call_id = null, tool_status = 0, text = '', tool_input = null, tool_output = null
            where t.user_id = uid and t.id = push_forget.id returning t.version, t.seq into version, seq;
            -- The facts that come without it may be of a lower rank: they are less.
            update public.sessions s set rank = 0 where s.user_id = uid and s.id = was.session_id;
        end if;
        return cogfs.applied(version, seq);
    end if;

    below := case kind
        when 'session' then array[id]
        when 'commit' then array(select s.id from public.sessions s where s.user_id = uid and s.commit_id = push_forget.id)
        when 'project' then array(
            select s.id from public.sessions s join public.cognitive_commits c on c.user_id = uid and c.id = s.commit_id
            where s.user_id = uid and c.project_id = push_forget.id)
        else '{}' end;
    names := array(select distinct v.object_name from public.visuals v where v.user_id = uid and v.session_id = any(below));
    perform set_config('cogfs.purging', 'on', true);
    delete from public.turns t where t.user_id = uid and t.session_id = any(below);
    delete from public.raw_chunks r where r.user_id = uid and r.session_id = any(below);
    delete from public.message_usage u where u.user_id = uid and u.session_id = any(below);
    delete from public.visuals v where v.user_id = uid and v.session_id = any(below);
    perform set_config('cogfs.purging', '', true);
    update public.sessions s set forgotten = true, facts = null, fields = '{}', rank = 0
    where s.user_id = uid and s.id = any(below) and not s.forgotten;
    if kind = 'project' then
        update public.cognitive_commits c set forgotten = true, facts = null, fields = '{}', rank = 0
        where c.user_id = uid and c.project_id = push_forget.id and not c.forgotten;
    end if;
    execute format('insert into public.%1$I as r(user_id, id, forgotten) values ($1, $2, true)
        on conflict on constraint %2$I do update set forgotten = true, facts = null, fields = ''{}'', rank = 0
        returning r.version, r.seq', cogfs.table_of(kind), cogfs.table_of(kind) || '_pkey')
    into version, seq using uid, id;
    return cogfs.applied(version, seq, case when names <> '{}' then cogfs.unused_objects(uid, names) else '[]' end);
end
$$;

create or replace function cogfs.push_change(uid uuid, machine uuid, change jsonb) returns jsonb
language plpgsql set search_path = '' as $$
begin
    return case change ->> 'op'
        when 'facts' then cogfs.push_facts(uid, machine, change ->> 'kind', (change ->> 'id')::uuid,
            coalesce((change ->> 'rank')::bigint, 0), nullif(current_setting('cogfs.as_of', true), '')::bigint,
            nullif(change -> 'facts', 'null'), (change ->> 'parent')::uuid)
        when 'fields' then cogfs.push_fields(uid, change ->> 'kind', (change ->> 'id')::uuid, (change ->> 'base_version')::bigint,
            change -> 'fields', (change -> 'turn' ->> 0)::uuid, (change -> 'turn' ->> 1)::integer)
        when 'turns' then cogfs.push_contents(uid, 'turns', (change ->> 'session')::uuid, change -> 'turns')
        when 'raw' then cogfs.push_contents(uid, 'raw', (change ->> 'session')::uuid, change -> 'chunks')
        when 'usage' then cogfs.push_contents(uid, 'usage', (change ->> 'session')::uuid, change -> 'usage')
        when 'merged' then cogfs.push_merged(uid, change ->> 'kind', (change ->> 'id')::uuid, (change ->> 'into')::uuid)
        when 'forget' then cogfs.push_forget(uid, change ->> 'kind', (change ->> 'id')::uuid)
        else cogfs.refused('invalid', 'no such change')
    end;
end
$$;

-- What an error that a change ran into says of it; null: it is no fault of the change.
create or replace function cogfs.refusal(state text, said text, detail text) returns jsonb
language sql immutable
return case
    when state = 'PT413' then cogfs.refused(detail, said)
    when state = '23503' then cogfs.refused('unknown_parent', said)
    when left(state, 2) in ('21', '22', '23', '54') then cogfs.refused('invalid', said)
end;

-- Changes in their order. `guarded`: one that fails takes back what it did, and nothing else.
create or replace function cogfs.push_all(uid uuid, machine uuid, changes jsonb, guarded boolean) returns jsonb
language plpgsql set search_path = '' as $$
declare
    change jsonb;
    outcome jsonb;
    outcomes jsonb[] := '{}';
    fuller jsonb := '{}';                             -- sessions of which there is more than this machine has
    lacking jsonb := '{}';                            -- sessions whose contents were refused here, and why
    state text;
    said text;
    detail text;
begin
    for change in select c from jsonb_array_elements(changes) c loop
        if change ->> 'op' in ('turns', 'raw', 'usage') and fuller ? coalesce(change ->> 'session', '') then
            -- A shorter log's contents would cut what is here.
            outcome := fuller -> (change ->> 'session');
        elsif change ->> 'op' = 'facts' and lacking ? coalesce(change ->> 'id', '') and jsonb_typeof(change -> 'facts') = 'object' then
            -- Facts make a session visible: not without its contents.
            outcome := lacking -> (change ->> 'id');
        elsif guarded then
            begin
                outcome := cogfs.push_change(uid, machine, change);
            exception when others then
                get stacked diagnostics state = returned_sqlstate, said = message_text, detail = pg_exception_detail;
                outcome := cogfs.refusal(state, said, detail);
                if outcome is null then
                    raise; -- the server's trouble, or a bug: nothing is made
                end if;
            end;
        else
            outcome := cogfs.push_change(uid, machine, change);
        end if;
        if change ->> 'op' = 'facts' and outcome ->> 'status' = 'conflict' then
            fuller := fuller || jsonb_build_object(coalesce(change ->> 'id', ''), outcome);
        end if;
        if change ->> 'op' in ('turns', 'raw', 'usage') and outcome ->> 'status' = 'refused' then
            lacking := lacking || jsonb_build_object(coalesce(change ->> 'session', ''), outcome);
        end if;
        outcomes := outcomes || outcome;
    end loop;
    return to_jsonb(outcomes);
end
$$;

drop function if exists public.sync_push(integer, uuid, jsonb);
-- `as_of`: when the machine read what it sends, by this server's clock as its last pull told it.
create or replace function public.sync_push(protocol integer, machine uuid, changes jsonb, as_of bigint default null) returns jsonb
language plpgsql set search_path = '' as $$
declare
    uid uuid := cogfs.check_caller(protocol);
    present bigint := cogfs.millis_of(clock_timestamp());
    outcomes jsonb;
    state text;
    said text;
    detail text;
begin
    if machine is null or jsonb_typeof(changes) is distinct from 'array' then
        raise sqlstate 'PT400' using message = 'a push has a machine and a list of changes';
    end if;
    perform cogfs.lock_head();
    -- Of tables that are new and were never analyzed PostgreSQL knows nothing: a plan that it made when they were small, and keeps, may
    -- find a record by its user alone, among all that he has.
    if exists (select from pg_catalog.pg_class c where c.oid = 'public.cognitive_commits'::regclass and c.reltuples < 0) then
        perform set_config('plan_cache_mode', 'force_custom_plan', true);
    end if;
    -- Nothing was read later than now.
    as_of := case when as_of is not null then least(as_of, present) end;
    -- A machine sends one request after the other: one that a later one overtook was given up, and says what is no more.
    if as_of < cogfs.open_account(machine) then
        raise sqlstate 'PT503' using message = 'a later push of this machine came before this one';
    end if;
    perform set_config('cogfs.machine', machine::text, true),
            set_config('cogfs.as_of', coalesce(as_of::text, ''), true),
            set_config('cogfs.held', '', true),
            set_config('cogfs.wanted', (select count(*) from jsonb_array_elements(changes) c
                                        where c ->> 'op' not in ('turns', 'raw', 'usage'))::text, true);
    -- A subtransaction for each change costs a lock of its own on every row that many refer to (the machine, the commit), each a
    -- longer list: quadratic. As a rule no change fails: they are made together, and one by one only after one did.
    begin
        outcomes := cogfs.push_all(uid, machine, changes, false);
    exception when others then
        get stacked diagnostics state = returned_sqlstate, said = message_text, detail = pg_exception_detail;
        if cogfs.refusal(state, said, detail) is null then
            raise;
        end if;
        outcomes := cogfs.push_all(uid, machine, changes, true);
    end;
    perform cogfs.close_account(machine, as_of);
    perform set_config('cogfs.machine', '', true), set_config('cogfs.as_of', '', true), set_config('cogfs.held', '', true), set_config('cogfs.wanted', '', true);
    return outcomes;
end
$$;

revoke all on function public.sync_push(integer, uuid, jsonb, bigint) from public, anon;
grant execute on function public.sync_push(integer, uuid, jsonb, bigint) to authenticated;
