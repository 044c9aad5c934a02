-- What holds for every writer, the web's included: numbers and versions are given here, deletions leave tombstones, and what an
-- account holds is counted here. They run as their owner, so that a user can read his head and his account and write neither.

-- Locks the user's head, so that his writers come one after another; makes it, and the account, the first time.
create or replace function cogfs.lock_head() returns bigint
language plpgsql security definer set search_path = '' as $$
declare
    uid uuid := auth.uid();
    head bigint;
begin
    if uid is null then
        raise sqlstate 'PT401' using message = 'no user is logged in';
    end if;
    select seq into head from public.sync_heads where user_id = uid for update;
    if not found then
        insert into public.accounts(user_id) values (uid) on conflict do nothing;
        insert into public.sync_heads(user_id) values (uid) on conflict do nothing;
        select seq into head from public.sync_heads where user_id = uid for update;
    end if;
    return head;
end
$$;

-- Before any row is locked: who locked a row first and then waited for the head would wait for one who holds the head and waits
-- for the row.
create or replace function cogfs.lock_head_first() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    -- Without a user it is who runs the server: rows of any user.
    if auth.uid() is not null then
        perform cogfs.lock_head();
    end if;
    return null;
end
$$;

-- The next number. A push says how many it may need (`cogfs.wanted`): they are taken at once, because every update of the head
-- rings at the user's machines. Both settings end with the transaction, and are rolled back with the head.
create or replace function cogfs.next_seq(uid uuid) returns bigint
language plpgsql security definer set search_path = '' as $$
declare
    wanted bigint := greatest(coalesce(nullif(current_setting('cogfs.wanted', true), '')::bigint, 1), 1);
    held text[] := string_to_array(nullif(current_setting('cogfs.held', true), ''), ' '); -- user, next, last
    last bigint;
begin
    if auth.uid() is distinct from uid and auth.uid() is not null then
        raise insufficient_privilege using message = 'the row is another user''s';
    end if;
    if held is not null and held[1] = uid::text and held[2]::bigint <= held[3]::bigint then
        perform set_config('cogfs.held', format('%s %s %s', uid, held[2]::bigint + 1, held[3]), true);
        return held[2]::bigint;
    end if;
    update public.sync_heads set seq = seq + wanted where user_id = uid returning seq into last;
    if not found then
        insert into public.accounts(user_id) values (uid) on conflict do nothing;
        insert into public.sync_heads(user_id, seq) values (uid, wanted)
            on conflict (user_id) do update set seq = public.sync_heads.seq + wanted returning seq into last;
    end if;
    perform set_config('cogfs.held', format('%s %s %s', uid, last - wanted + 2, last), true);
    -- The block is used up with its last number: what comes behind it is taken one by one.
    perform set_config('cogfs.wanted', '1', true);
    return last - wanted + 1;
end
$$;

-- Number, version and times of a record. Columns of fields and `fields` are the same thing twice: whichever was written, the other
-- follows.
create or replace function cogfs.stamp() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    told boolean;
begin
    if auth.uid() is not null and auth.uid() <> new.user_id then
        raise insufficient_privilege using message = 'the row is another user''s';
    end if;
    if tg_op = 'UPDATE' and (new.user_id, new.id) is distinct from (old.user_id, old.id) then
        raise sqlstate 'PT400' using message = 'the key of a record does not change';
    end if;

    if tg_op = 'UPDATE' and new.fields is not distinct from old.fields and new.facts is not distinct from old.facts then
        if tg_table_name = 'projects' then
            if new.name is distinct from old.name then
                new.fields := new.fields || jsonb_build_object('name', new.name);
            end if;
        elsif tg_table_name = 'cognitive_commits' then
            if new.title is distinct from old.title then
                new.fields := new.fields || jsonb_build_object('title', new.title);
            end if;
            if new.hidden is distinct from old.hidden then
                new.fields := new.fields || jsonb_build_object('hidden', new.hidden);
            end if;
            if new.published is distinct from old.published then
                new.fields := new.fields || jsonb_build_object('published', new.published);
            end if;
            if new.display_order is distinct from old.display_order then
                new.fields := new.fields || jsonb_build_object('order', new.display_order);
            end if;
            if new.tags is distinct from old.tags then
                new.fields := new.fields || jsonb_build_object('tags', to_jsonb(new.tags));
            end if;
            if new.note is distinct from old.note then
                new.fields := new.fields || jsonb_build_object('note', new.note);
            end if;
            if new.project_id is distinct from old.project_id and new.facts is not null then
                new.fields := new.fields || jsonb_build_object('project', new.project_id);
            end if;
        end if;
        if tg_table_name in ('cognitive_commits', 'sessions') then
            if new.deleted_at is distinct from old.deleted_at then
                new.fields := new.fields || jsonb_build_object('deleted_at', cogfs.millis_of(new.deleted_at));
            end if;
        end if;
    end if;

    if tg_table_name = 'projects' then
        new.name := coalesce(new.fields ->> 'name', new.facts ->> 'name');
    elsif tg_table_name = 'cognitive_commits' then
        new.title := coalesce(new.fields ->> 'title', new.facts ->> 'title');
        new.hidden := coalesce((new.fields ->> 'hidden')::boolean, false);
        new.published := coalesce((new.fields ->> 'published')::boolean, false);
        new.display_order := coalesce((new.fields ->> 'order')::bigint, 0);
        new.tags := case jsonb_typeof(new.fields -> 'tags') when 'array'
            then array(select jsonb_array_elements_text(new.fields -> 'tags')) else '{}' end;
        new.note := coalesce(new.fields ->> 'note', '');
        new.project_id := coalesce((new.fields ->> 'project')::uuid, (new.facts ->> 'project')::uuid, new.project_id);
        new.deleted_at := cogfs.time_of((new.fields ->> 'deleted_at')::bigint);
    elsif tg_table_name = 'sessions' then
        new.commit_id := coalesce((new.facts ->> 'commit')::uuid, new.commit_id);
        new.machine_id := coalesce((new.facts ->> 'machine')::uuid, new.machine_id);
        new.deleted_at := cogfs.time_of((new.fields ->> 'deleted_at')::bigint);
        select f.parent, f.agent, f.agent_version, f.native_id, f.part, f.ordinal, f.subagent_kind, f.dir_name, f.title, f.cwd, f.git_branch,
               f.models, f.files, f.closed, cogfs.time_of(f.started_at), cogfs.time_of(f.ended_at), f.turns, f.prompts, f.tool_calls, f.images,
               f.tokens ->> 0, f.tokens ->> 1, f.tokens ->> 2, f.tokens ->> 3, f.raw_bytes
        into new.parent_id, new.agent, new.agent_version, new.native_id, new.part, new.ordinal, new.subagent_kind, new.dir_name, new.title,
             new.cwd, new.git_branch, new.models, new.files, new.closed, new.started_at, new.ended_at, new.turn_count, new.prompt_count,
             new.tool_call_count, new.image_count, new.tokens_input, new.tokens_output, new.tokens_cache_read, new.tokens_cache_write,
             new.raw_bytes
        from jsonb_to_record(coalesce(new.facts, '{}')) as f(parent uuid, agent text, agent_version text, native_id text, part bigint,
            ordinal bigint, subagent_kind text, dir_name text, title text, cwd text, git_branch text, models jsonb, files jsonb,
            closed boolean, started_at bigint, ended_at bigint, turns bigint, prompts bigint, tool_calls bigint, images bigint,
            tokens jsonb, raw_bytes bigint);
    end if;
    -- What is read back from the disk is compressed, and would count as less than when it came.
    if tg_op = 'INSERT' or new.facts is distinct from old.facts or new.fields is distinct from old.fields then
        new.bytes := 64 + coalesce(pg_column_size(new.facts), 0) + pg_column_size(new.fields);
    else
        new.bytes := old.bytes;
    end if;

    -- A record whose facts are still to come is told to nobody.
    told := new.facts is not null or new.forgotten or new.merged_into is not null;
    if tg_op = 'INSERT' then
        new.version := case when new.fields = '{}' then 0 else 1 end;
        if tg_table_name in ('cognitive_commits', 'sessions') then
            -- In place of one that was removed it has another life, told by what stands above the lowest 20 bits.
            new.version := new.version + coalesce((select h.min_seq from public.sync_heads h where h.user_id = new.user_id), 0) * 1048576;
        end if;
        new.seq := case when told then cogfs.next_seq(new.user_id) end;
        new.updated_at := clock_timestamp();
        new.fields_at := case when new.fields <> '{}' then clock_timestamp() end;
        new.fields_by := case when new.fields <> '{}' then nullif(current_setting('cogfs.machine', true), '')::uuid end;
        return new;
    end if;

    new.version := old.version;
    new.fields_at := old.fields_at;
    new.fields_by := old.fields_by;
    if new.fields is distinct from old.fields then
        new.version := old.version + 1;
        new.fields_at := clock_timestamp();
        new.fields_by := nullif(current_setting('cogfs.machine', true), '')::uuid;
    end if;
    new.seq := old.seq;
    new.updated_at := old.updated_at;
    if (new.fields, new.facts, new.merged_into, new.forgotten, new.touched) is distinct from
       (old.fields, old.facts, old.merged_into, old.forgotten, old.touched) then
        new.updated_at := clock_timestamp();
        if told then
            new.seq := cogfs.next_seq(new.user_id);
        end if;
    end if;
    return new;
end
$$;

-- The same for a turn, which has no facts and becomes a record when it is marked.
create or replace function cogfs.stamp_turn() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if auth.uid() is not null and auth.uid() <> new.user_id then
        raise insufficient_privilege using message = 'the row is another user''s';
    end if;
    if tg_op = 'INSERT' then
        new.version := case when new.fields is null then 0 else 1 end;
        new.seq := cogfs.next_seq(new.user_id);
    else
        if new.fields is not distinct from old.fields and new.deleted_at is distinct from old.deleted_at then
            new.fields := jsonb_build_object('deleted_at', cogfs.millis_of(new.deleted_at));
        end if;
        new.version := old.version + case when new.fields is distinct from old.fields then 1 else 0 end;
        new.seq := old.seq;
        new.fields_at := old.fields_at;
        new.fields_by := old.fields_by;
        if (new.fields, new.forgotten) is not distinct from (old.fields, old.forgotten) then
            new.deleted_at := old.deleted_at;
            return new;
        end if;
        new.seq := cogfs.next_seq(new.user_id);
    end if;
    new.deleted_at := cogfs.time_of((new.fields ->> 'deleted_at')::bigint);
    new.fields_at := clock_timestamp();
    new.fields_by := nullif(current_setting('cogfs.machine', true), '')::uuid;
    return new;
end
$$;

-- A row that a user deletes would be missed by every cursor: what can be in the trash goes there, the rest is refused. The rows go
-- for good in purge_tombstones, and with their account.
create or replace function cogfs.keep_tombstone() returns trigger
language plpgsql set search_path = '' as $$
begin
    if current_user <> 'authenticated' or current_setting('cogfs.purging', true) = 'on' then
        return old;
    end if;
    if tg_table_name = 'cognitive_commits' then
        update public.cognitive_commits set deleted_at = clock_timestamp()
        where user_id = old.user_id and id = old.id and deleted_at is null;
    elsif tg_table_name = 'sessions' then
        update public.sessions set deleted_at = clock_timestamp()
        where user_id = old.user_id and id = old.id and deleted_at is null;
    elsif tg_table_name = 'turns' then
        update public.turns set deleted_at = clock_timestamp()
        where user_id = old.user_id and session_id = old.session_id and number = old.number and deleted_at is null;
    else
        raise sqlstate 'PT403' using message = format('rows of %s are not deleted', tg_table_name);
    end if;
    return null;
end
$$;

-- Adds to what an account holds; more than its plan allows is refused. PT413 becomes the status 413; sync_push makes `refused` of it.
-- A push keeps the sum in a setting (`cogfs.account`: user, plan, commits, bytes, and what is allowed) and writes it once: a row that
-- is written a thousand times in one transaction is found through a thousand dead ones.
create or replace function cogfs.add_usage(uid uuid, more_commits bigint, more_bytes bigint) returns void
language plpgsql security definer set search_path = '' as $$
declare
    open jsonb := nullif(current_setting('cogfs.account', true), '')::jsonb;
    plan_name text;
    commits bigint;
    bytes bigint;
    allowed public.limits;
begin
    if open ->> 'user' = uid::text then
        plan_name := open ->> 'plan';
        commits := (open ->> 'commits')::bigint + more_commits;
        bytes := greatest((open ->> 'bytes')::bigint + more_bytes, 0);
        allowed.commits := (open ->> 'allowed_commits')::bigint;
        allowed.bytes := (open ->> 'allowed_bytes')::bigint;
        perform set_config('cogfs.account', (open || jsonb_build_object('commits', commits, 'bytes', bytes))::text, true);
    else
        update public.accounts a set commits = a.commits + more_commits, bytes = greatest(a.bytes + more_bytes, 0)
        where a.user_id = uid returning a.plan, a.commits, a.bytes into plan_name, commits, bytes;
        if not found then
            return; -- the account is being deleted
        end if;
        select * into allowed from public.limits l where l.plan = plan_name;
    end if;
    if more_commits > 0 and commits > allowed.commits then
        raise sqlstate 'PT413' using detail = 'quota_commits',
            message = format('the plan "%s" holds %s commits', plan_name, allowed.commits);
    end if;
    if more_bytes > 0 and bytes > allowed.bytes then
        raise sqlstate 'PT413' using detail = 'quota_bytes',
            message = format('the plan "%s" holds %s MB', plan_name, round(allowed.bytes / 1048576.0, 1));
    end if;
end
$$;

-- Begins and ends keeping the sum apart. The head is locked meanwhile, so nobody else writes it. Gives when the machine read what it
-- sent last.
create or replace function cogfs.open_account(machine uuid) returns bigint
language plpgsql security definer set search_path = '' as $$
declare
    account public.accounts;
begin
    select * into account from public.accounts a where a.user_id = auth.uid();
    perform set_config('cogfs.account', jsonb_build_object('user', account.user_id, 'plan', account.plan, 'commits', account.commits,
        'bytes', account.bytes, 'allowed_commits', l.commits, 'allowed_bytes', l.bytes)::text, true)
    from public.limits l where l.plan = account.plan;
    return coalesce((account.pushed ->> machine::text)::bigint, 0);
end
$$;

create or replace function cogfs.close_account(machine uuid, as_of bigint) returns void
language plpgsql security definer set search_path = '' as $$
declare
    open jsonb := nullif(current_setting('cogfs.account', true), '')::jsonb;
    sent jsonb := case when as_of is null then '{}' else jsonb_build_object(machine::text, as_of) end;
begin
    update public.accounts a set commits = (open ->> 'commits')::bigint, bytes = (open ->> 'bytes')::bigint,
        pushed = a.pushed || sent
    where a.user_id = auth.uid() and open ->> 'user' = a.user_id::text
      and ((a.commits, a.bytes) is distinct from ((open ->> 'commits')::bigint, (open ->> 'bytes')::bigint)
           or not a.pushed @> sent);
    perform set_config('cogfs.account', '', true);
end
$$;

create or replace function cogfs.count_usage() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    uid uuid;
    commits bigint;
    bytes bigint;
begin
    if tg_table_name = 'cognitive_commits' then
        if tg_op = 'INSERT' then
            for uid, commits, bytes in select user_id, count(*) filter (where n.counted), sum(n.bytes) from new_rows n group by 1 loop
                perform cogfs.add_usage(uid, commits, bytes);
            end loop;
        elsif tg_op = 'DELETE' then
            for uid, commits, bytes in select user_id, -count(*) filter (where o.counted), -sum(o.bytes) from old_rows o group by 1 loop
                perform cogfs.add_usage(uid, commits, bytes);
            end loop;
        else
            for uid, commits, bytes in
                select c.user_id, sum(c.commits), sum(c.bytes) from (
                    select n.user_id, n.counted::int as commits, n.bytes from new_rows n
                    union all select o.user_id, -o.counted::int, -o.bytes from old_rows o
                ) c group by 1 having sum(c.commits) <> 0 or sum(c.bytes) <> 0
            loop
                perform cogfs.add_usage(uid, commits, bytes);
            end loop;
        end if;
    elsif tg_op = 'INSERT' then
        for uid, bytes in select n.user_id, sum(n.bytes) from new_rows n group by 1 loop
            perform cogfs.add_usage(uid, 0, bytes);
        end loop;
    elsif tg_op = 'DELETE' then
        for uid, bytes in select o.user_id, -sum(o.bytes) from old_rows o group by 1 loop
            perform cogfs.add_usage(uid, 0, bytes);
        end loop;
    else
        for uid, bytes in
            select c.user_id, sum(c.bytes) from (
                select n.user_id, n.bytes from new_rows n union all select o.user_id, -o.bytes from old_rows o
            ) c group by 1 having sum(c.bytes) <> 0
        loop
            perform cogfs.add_usage(uid, 0, bytes);
        end loop;
    end if;
    return null;
end
$$;

-- Called by triggers alone.
revoke all on function cogfs.next_seq(uuid), cogfs.add_usage(uuid, bigint, bigint) from public;

do $$
declare
    name text;
begin
    foreach name in array array['machines', 'projects', 'cognitive_commits', 'sessions'] loop
        execute format('create or replace trigger b_stamp before insert or update on public.%I
            for each row execute function cogfs.stamp()', name);
    end loop;
    -- Contents alone make no record: millions of rows pass no trigger.
    create or replace trigger b_stamp_new before insert on public.turns for each row
        when (new.fields is not null or new.forgotten or new.deleted_at is not null or new.seq is not null or new.version <> 0)
        execute function cogfs.stamp_turn();
    create or replace trigger b_stamp before update on public.turns for each row
        when ((new.fields, new.forgotten, new.deleted_at, new.seq, new.version, new.user_id) is distinct from
              (old.fields, old.forgotten, old.deleted_at, old.seq, old.version, old.user_id))
        execute function cogfs.stamp_turn();
    foreach name in array array['machines', 'projects', 'cognitive_commits', 'sessions', 'turns'] loop
        execute format('create or replace trigger a_keep_tombstone before delete on public.%I
            for each row execute function cogfs.keep_tombstone()', name);
    end loop;
    foreach name in array array['machines', 'projects', 'cognitive_commits', 'sessions', 'turns', 'raw_chunks', 'message_usage',
                                'visual_objects'] loop
        execute format('create or replace trigger a_lock_head before insert or update or delete on public.%I
            for each statement when (coalesce(current_setting(''cogfs.machine'', true), '''') = '''')
            execute function cogfs.lock_head_first()', name); -- a push holds it
        execute format('create or replace trigger c_count_new after insert on public.%I referencing new table as new_rows
            for each statement execute function cogfs.count_usage()', name);
        execute format('create or replace trigger c_count_changed after update on public.%I
            referencing old table as old_rows new table as new_rows
            for each statement execute function cogfs.count_usage()', name);
        execute format('create or replace trigger c_count_gone after delete on public.%I referencing old table as old_rows
            for each statement execute function cogfs.count_usage()', name);
    end loop;
end
$$;
