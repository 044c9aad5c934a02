-- Tombstones live for 30 days: then what was deleted goes with its contents. A machine that was away for longer would never hear of
-- it: `min_seq` tells it to begin again. Markers of what was forgotten or merged stay, they are what keeps it from coming back.

-- Only this raises min_seq, and nothing lowers it.
create or replace function cogfs.raise_min_seq(uid uuid, seq bigint) returns void
language plpgsql security definer set search_path = '' as $$
begin
    if auth.uid() is not null and auth.uid() <> uid then
        raise insufficient_privilege using message = 'the head is another user''s';
    end if;
    update public.sync_heads h set min_seq = greatest(h.min_seq, least(raise_min_seq.seq, h.seq)) where h.user_id = uid;
end
$$;

-- Of the user who calls; called by who runs the server (pg_cron), of all. Gives how many records went.
create or replace function public.purge_tombstones() returns bigint
language plpgsql set search_path = '' as $$
declare
    caller uuid := auth.uid();
    uid uuid;
    -- By the server's clock, when the deletion came here: a machine's clock may be wrong, and it may have been away.
    old timestamptz := clock_timestamp() - interval '30 days';
    removed bigint := 0;
    count bigint;
    last bigint;
    newest bigint;
    commits uuid[];
    names text[];
begin
    if caller is not null then
        perform cogfs.lock_head();
    elsif current_user in ('anon', 'authenticated') then
        raise sqlstate 'PT401' using message = 'no user is logged in';
    end if;
    for uid in select h.user_id from public.sync_heads h where caller is null or h.user_id = caller loop
        if caller is null then
            perform from public.sync_heads h where h.user_id = uid for update;
        end if;
        newest := null;
        names := array(
            select distinct v.object_name from public.visuals v
            join public.sessions s on s.user_id = uid and s.id = v.session_id
            left join public.cognitive_commits c on c.user_id = uid and c.id = s.commit_id
            where v.user_id = uid
              and ((s.deleted_at is not null and s.fields_at < old) or (c.deleted_at is not null and c.fields_at < old)));
        commits := array(
            select c.id from public.cognitive_commits c
            where c.user_id = uid and c.deleted_at is not null and c.fields_at < old and not c.forgotten and c.merged_into is null);
        perform set_config('cogfs.purging', 'on', true);

        -- A marker of a session that was forgotten stays, whatever becomes of the commit it was in.
        update public.sessions s set commit_id = null where s.user_id = uid and s.commit_id = any(commits) and s.forgotten;
        -- A commit's deletion is told by its own tombstone, that of what lies in it too. What was merged into it is it.
        with recursive all_of_it as (
            select c.id from unnest(commits) c(id)
            union select c.id from public.cognitive_commits c join all_of_it a on c.merged_into = a.id where c.user_id = uid
        ), gone as (
            delete from public.cognitive_commits c using all_of_it a where c.user_id = uid and c.id = a.id returning c.seq, c.merged_into
        ) select count(*) filter (where g.merged_into is null), max(g.seq) into count, last from gone g;
        removed := removed + count;
        newest := greatest(newest, last);
        with gone as (
            delete from public.sessions s
            where s.user_id = uid and s.deleted_at is not null and s.fields_at < old and not s.forgotten returning s.seq
        ) select count(*), max(g.seq) into count, last from gone g;
        removed := removed + count;
        newest := greatest(newest, last);
        -- Of a turn the mark stays: its session's facts count it.
        update public.turns t set role = 0, model = null, label = null, tool_name = null, tool_call_id = null, text = '',
            tool_input = null, tool_output = null
        where t.user_id = uid and t.deleted_at is not null and t.fields_at < old and not t.forgotten and t.role <> 0;
        get diagnostics count = row_count;
        removed := removed + count;

        delete from public.visual_objects o where o.user_id = uid and o.unused_at < old;
        perform set_config('cogfs.purging', '', true);
        if newest is not null then
            perform cogfs.raise_min_seq(uid, newest);
            perform cogfs.unused_objects(uid, names);
        end if;
    end loop;
    return removed;
end
$$;

revoke all on function public.purge_tombstones() from public, anon;
grant execute on function public.purge_tombstones() to authenticated;
