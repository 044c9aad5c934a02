-- What takes Supabase's own schemas, as far as they are there: users, pictures, the doorbell. Then PostgREST looks again.

do $$
begin
    if to_regclass('auth.users') is not null
       and not exists (select from pg_constraint where conname = 'accounts_of_users' and conrelid = 'public.accounts'::regclass) then
        -- With the user goes everything of his.
        alter table public.accounts add constraint accounts_of_users foreign key (user_id) references auth.users(id) on delete cascade;
    end if;

    if to_regclass('storage.buckets') is not null and to_regclass('storage.objects') is not null then
        insert into storage.buckets(id, name, public, file_size_limit, allowed_mime_types)
        values ('visuals', 'visuals', false, 20 * 1024 * 1024, null)
        on conflict (id) do nothing;
        -- <user>/<sha256>.<extension>. No policy to update: a name says what is in it.
        drop policy if exists "visuals: see own" on storage.objects;
        create policy "visuals: see own" on storage.objects for select to authenticated
            using (bucket_id = 'visuals' and (storage.foldername(name))[1] = (select auth.uid()::text));
        drop policy if exists "visuals: store own" on storage.objects;
        create policy "visuals: store own" on storage.objects for insert to authenticated
            with check (bucket_id = 'visuals' and (storage.foldername(name))[1] = (select auth.uid()::text)
                        and name ~ '^[^/]+/[0-9a-f]{64}\.[a-z]+$');
        drop policy if exists "visuals: remove own" on storage.objects;
        create policy "visuals: remove own" on storage.objects for delete to authenticated
            using (bucket_id = 'visuals' and (storage.foldername(name))[1] = (select auth.uid()::text));
    end if;

    -- The head alone: a change of it rings, and what changed is pulled.
    if exists (select from pg_publication where pubname = 'supabase_realtime')
       and not exists (select from pg_publication_tables where pubname = 'supabase_realtime'
                       and schemaname = 'public' and tablename = 'sync_heads') then
        alter publication supabase_realtime add table public.sync_heads;
    end if;

    if exists (select from pg_roles where rolname = 'service_role') then
        grant execute on function public.purge_tombstones() to service_role;
    end if;
end
$$;

notify pgrst, 'reload schema';
