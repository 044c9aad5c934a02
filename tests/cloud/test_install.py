"""The migrations on an empty project of Supabase and on a plain PostgreSQL, once and again."""

import glob
import os
import unittest

from stack import ROOT, CloudTest, psql

# What an empty project has, as far as the migrations touch it: users, storage, the publication, and its generous default grants.
SUPABASE = """
do $$ begin
    if not exists (select from pg_roles where rolname = 'service_role') then create role service_role nologin bypassrls; end if;
end $$;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
create schema auth;
create table auth.users (id uuid primary key);
create function auth.uid() returns uuid language sql stable as
    $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
grant usage on schema auth to anon, authenticated, service_role;
create schema storage;
create table storage.buckets (id text primary key, name text, public boolean, file_size_limit bigint, allowed_mime_types text[]);
create table storage.objects (id uuid primary key default gen_random_uuid(), bucket_id text, name text);
create function storage.foldername(name text) returns text[] language sql immutable as $$ select (string_to_array(name, '/'))[1:1] $$;
alter table storage.objects enable row level security;
grant usage on schema storage to authenticated, anon;
grant all on storage.objects to authenticated, anon;
grant execute on function storage.foldername(text) to authenticated;
create publication supabase_realtime;
"""
SCHEMA = """
select string_agg(line, E'\\n' order by line) from (
    select 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || coalesce(column_default, '') as line
    from information_schema.columns where table_schema in ('public', 'cogfs')
    union all select 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
    where connamespace = 'public'::regnamespace
    union all select 'index ' || indexdef from pg_indexes where schemaname = 'public'
    union all select 'policy ' || schemaname || '.' || tablename || ' ' || policyname || ' ' || cmd || roles::text || coalesce(qual, '') from pg_policies
    union all select 'trigger ' || tgrelid::regclass || ' ' || tgname from pg_trigger where not tgisinternal
    union all select 'function ' || p.oid::regprocedure || ' ' || md5(prosrc) || coalesce((select string_agg(a::text, ' ' order by a::text) from unnest(proacl) a), '')
    from pg_proc p
    where pronamespace in ('public'::regnamespace, 'cogfs'::regnamespace)
    union all select 'grant ' || relname || coalesce((select string_agg(a::text, ' ' order by a::text) from unnest(relacl) a), '')
    from pg_class where relnamespace = 'public'::regnamespace
    union all select 'limit ' || l::text from public.limits l
    union all select 'published ' || schemaname || '.' || tablename from pg_publication_tables
) lines;
"""
USER = "aaaaaaaa-0000-4000-8000-000000000001"


def install(database):
    for path in sorted(glob.glob(os.path.join(ROOT, "migrations", "cloud", "*.sql"))):
        with open(path) as file:
            psql("set client_min_messages = warning; begin;" + file.read() + "; commit;", database)


def as_user(sql, user=USER, role="authenticated"):
    return f"""set role {role}; set request.jwt.claims = '{{"sub": "{user}", "role": "{role}"}}'; {sql}"""


class Install(CloudTest):
    def fresh(self, name, before=""):
        psql(f"drop database if exists {name}")
        psql(f"create database {name}")
        self.addCleanup(psql, f"drop database {name} with (force)")
        psql(before or "select 1", name)
        return name

    def test_twice_on_plain_postgresql_without_harm(self):
        database = self.fresh("install_plain")
        install(database)
        psql(as_user("select sync_push(1, gen_random_uuid(), '[]')"), database)
        psql("update limits set commits = 7 where plan = 'free'", database)
        first, rows = psql(SCHEMA, database), psql("select accounts from accounts", database)
        install(database)
        self.assertEqual(psql(SCHEMA, database), first)
        self.assertEqual(psql("select accounts from accounts", database), rows)
        self.assertIn('"commits" : 7', psql(as_user("select sync_status(1)"), database))

    def test_twice_on_supabase_with_its_users_pictures_and_doorbell(self):
        database = self.fresh("install_supabase", SUPABASE)
        install(database)
        first = psql(SCHEMA, database)
        install(database)
        self.assertEqual(psql(SCHEMA, database), first)
        self.assertIn("published public.sync_heads", first)
        self.assertEqual(psql("select id, public from storage.buckets", database), "visuals|f")
        # What Supabase grants to all by default is taken back.
        self.assertEqual(psql("""select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
            and has_table_privilege('anon', oid, 'select, insert, update, delete')""", database), "0")
        self.assertEqual(psql("""select count(*) from pg_proc where pronamespace = 'public'::regnamespace
            and has_function_privilege('anon', oid, 'execute')""", database), "0")

        with self.assertRaisesRegex(AssertionError, "accounts_of_users"):
            psql(as_user("select sync_push(1, gen_random_uuid(), '[]')"), database)
        psql(f"insert into auth.users values ('{USER}')", database)
        machine, project, commit, session = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 5))
        psql(as_user(f"""select sync_push(1, '{machine}', '[
            {{"op":"facts","kind":"project","id":"{project}","rank":1,"facts":{{"name":"p"}}}},
            {{"op":"facts","kind":"commit","id":"{commit}","rank":1,"facts":{{"project":"{project}"}}}},
            {{"op":"facts","kind":"session","id":"{session}","rank":1,"facts":{{"commit":"{commit}","machine":"{machine}"}}}},
            {{"op":"turns","session":"{session}","turns":[{{"number":1,"id":"{session}","role":1,"at":1,"text":"x"}}]}}]')"""), database)
        self.assertEqual(psql("select count(*) from turns", database), "1")

        own, other = f"{USER}/{'a' * 64}.png", f"bbbbbbbb-0000-4000-8000-000000000001/{'a' * 64}.png"
        store = "insert into storage.objects(bucket_id, name) values ('visuals', '{}')"
        psql(as_user(store.format(own)), database)
        for sql in (as_user(store.format(other)), as_user(store.format(f"{USER}/notes.txt")), as_user(store.format(own), role="anon")):
            with self.assertRaisesRegex(AssertionError, "row-level security"):
                psql(sql, database)
        elsewhere = as_user("select count(*) from storage.objects", user="bbbbbbbb-0000-4000-8000-000000000001")
        self.assertEqual(psql(elsewhere, database), "0")
        psql(as_user("update storage.objects set name = 'x'"), database)
        self.assertEqual(psql("select name from storage.objects", database), own)

        # With the user goes everything of his.
        psql("delete from auth.users", database)
        for table in ("accounts", "sync_heads", "projects", "cognitive_commits", "sessions", "turns", "machines"):
            self.assertEqual(psql(f"select count(*) from {table}", database), "0", table)

    def test_the_server_s_owner_purges_for_all(self):
        database = self.fresh("install_owner")
        install(database)
        for user in (USER, USER.replace("a", "b")):
            psql(as_user(f"""select sync_push(1, '{USER}', '[{{"op":"facts","kind":"project","id":"{USER}","facts":{{"name":"p"}}}},
                {{"op":"facts","kind":"commit","id":"{USER}","facts":{{"project":"{USER}"}}}},
                {{"op":"fields","kind":"commit","id":"{USER}","base_version":0,"fields":{{"deleted_at":5}}}}]')""", user), database)
        psql("set session_replication_role = replica; update cognitive_commits set fields_at = now() - interval '31 days'", database)
        self.assertEqual(psql("select purge_tombstones()", database), "2")
        self.assertEqual(psql("select count(*), min(min_seq) from sync_heads", database), "2|3")


if __name__ == "__main__":
    unittest.main()
