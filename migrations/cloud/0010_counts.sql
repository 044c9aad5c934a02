-- Counts of a week that a user shares, if he chose to (`cogfs analytics --opt-in`): numbers alone, which his machine put noise on. No
-- part of the records: they have no number, ring at nobody, and count for no limit.

-- The keys that there are, each with a whole number that is not negative. What is not in the list cannot be kept, whoever sends it.
create or replace function cogfs.are_counts(counts jsonb) returns boolean
language plpgsql immutable parallel safe set search_path = '' as $$
begin
    if jsonb_typeof(counts) is distinct from 'object' or counts = '{}' then
        return false;
    end if;
    return not exists (
        select from jsonb_each(counts) c
        where c.key <> all (array['commits', 'failed_calls', 'prompts', 'sessions_antigravity', 'sessions_chatgpt', 'sessions_claude_ai',
                                  'sessions_claude_code', 'sessions_codex', 'sessions_copilot', 'sessions_cursor', 'sessions_gemini',
                                  'sessions_opencode', 'tokens_input', 'tokens_output', 'tool_calls', 'turns'])
           -- As text: a number in JSON may be of any length, and only one that is one looks like this.
           or c.value::text !~ '^(0|[1-9][0-9]{0,11}|1000000000000)$'
    );
end
$$;

create table if not exists public.shared_counts (
    user_id uuid not null default auth.uid() references public.accounts(user_id) on delete cascade,
    week    date not null check (extract(isodow from week) = 1),    -- its Monday
    counts  jsonb not null check (cogfs.are_counts(counts)),
    primary key (user_id, week)
);

do $$
begin
    revoke all on public.shared_counts from public, anon, authenticated;
    alter table public.shared_counts enable row level security;
    drop policy if exists own on public.shared_counts;
    -- What is there is not written over: a second look at the same counts would be one at the noise.
    grant select, insert, delete on public.shared_counts to authenticated;
    create policy own on public.shared_counts for all to authenticated
        using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
    if exists (select from pg_roles where rolname = 'service_role') then
        grant all on public.shared_counts to service_role;
    end if;
end
$$;

-- True: kept; false: that week is there already, and stays as it is.
create or replace function public.share_counts(protocol integer, week date, counts jsonb) returns boolean
language plpgsql set search_path = '' as $$
declare
    uid uuid := cogfs.check_caller(protocol);
    today date := (clock_timestamp() at time zone 'utc')::date;
begin
    if week is null or extract(isodow from week) <> 1 or week + 7 > today or week < today - 60 then
        raise sqlstate 'PT400' using message = 'it is the Monday of none of the last whole weeks';
    end if;
    if not cogfs.are_counts(counts) then
        raise sqlstate 'PT400' using message = 'counts are whole numbers of the keys that are known, and nothing else';
    end if;
    -- The account is there from here on.
    perform cogfs.lock_head();
    insert into public.shared_counts(user_id, week, counts) values (uid, share_counts.week, share_counts.counts)
    on conflict do nothing;
    return found;
end
$$;

-- All that the caller shared goes. Gives how many weeks that was.
create or replace function public.unshare_counts(protocol integer) returns integer
language plpgsql set search_path = '' as $$
declare
    uid uuid := cogfs.check_caller(protocol);
    removed integer;
begin
    delete from public.shared_counts c where c.user_id = uid;
    get diagnostics removed = row_count;
    return removed;
end
$$;

revoke all on function public.share_counts(integer, date, jsonb), public.unshare_counts(integer) from public, anon;
grant execute on function public.share_counts(integer, date, jsonb), public.unshare_counts(integer) to authenticated;
revoke all on function cogfs.are_counts(jsonb) from public, anon;
grant execute on function cogfs.are_counts(jsonb) to authenticated;

notify pgrst, 'reload schema';
