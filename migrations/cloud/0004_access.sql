-- Who may do what. A user sees and writes rows of his own, whatever way he takes; nobody who is not logged in sees anything.
-- Supabase grants everything on `public` to its roles by default: taken back first.

do $$
declare
    name text;
    role text;
begin
    foreach name in array array['limits', 'accounts', 'sync_heads', 'machines', 'projects', 'cognitive_commits', 'sessions', 'turns',
                                'raw_chunks', 'message_usage', 'visual_objects', 'visuals'] loop
        execute format('revoke all on public.%I from public, anon, authenticated', name);
        execute format('alter table public.%I enable row level security', name);
        execute format('drop policy if exists own on public.%I', name);
        if name = 'limits' then
            grant select on public.limits to authenticated;
            create policy own on public.limits for select to authenticated using (true);
        elsif name in ('accounts', 'sync_heads') then
            -- Written by triggers alone: nobody gives himself a plan, or takes back what he used.
            execute format('grant select on public.%I to authenticated', name);
            execute format('create policy own on public.%I for select to authenticated using (user_id = (select auth.uid()))', name);
        else
            execute format('grant select, insert, update, delete on public.%I to authenticated', name);
            execute format('create policy own on public.%I for all to authenticated
                using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()))', name);
        end if;
        if exists (select from pg_roles where rolname = 'service_role') then
            execute format('grant all on public.%I to service_role', name);
        end if;
    end loop;
    if exists (select from pg_roles where rolname = 'service_role') then
        grant usage on schema cogfs to service_role;
    end if;
end
$$;
