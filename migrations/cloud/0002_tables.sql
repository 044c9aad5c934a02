-- The tables. Every key begins with the user, and so does every reference: nothing of one user can hang below another's, whatever
-- ids are known.
--
-- Of a record, `facts` follow from the agents' logs and `fields` are what people changed: the two halves of src/cloud/wire.rs.
-- Typed columns beside them are for reading; those of the fields can be written too (the triggers of 0003 keep them in step).

create table if not exists public.limits (
    plan    text primary key,
    commits bigint check (commits >= 0),             -- null: without limit
    bytes   bigint check (bytes >= 0)
);
-- Rows that are there stay as whoever runs the server made them.
insert into public.limits(plan, commits, bytes) values ('free', 250, 50 * 1024 * 1024), ('unlimited', null, null)
on conflict (plan) do nothing;

-- What an account may hold and holds. Written by triggers and by who runs the server.
create table if not exists public.accounts (
    user_id    uuid primary key,
    plan       text not null default 'free' references public.limits(plan),
    commits    bigint not null default 0,
    bytes      bigint not null default 0,
    pushed     jsonb not null default '{}',           -- by machine: when it read what it pushed last, in milliseconds
    created_at timestamptz not null default now()
);

-- The last number given to a user's records. A writer locks the row, so numbers become visible in their order: a reader that asks
-- for what is behind a number misses nothing. Apart from the accounts because every change of it rings at the user's machines.
create table if not exists public.sync_heads (
    user_id uuid primary key references public.accounts(user_id) on delete cascade,
    seq     bigint not null default 0,
    min_seq bigint not null default 0                 -- readers that are behind it missed tombstones that were removed
);

create table if not exists public.machines (
    user_id     uuid not null default auth.uid() references public.accounts(user_id) on delete cascade,
    id          uuid not null,
    seq         bigint,                               -- null: nothing to be told of it yet
    version     bigint not null default 0,            -- counts changes of the fields
    fields      jsonb not null default '{}',
    fields_at   timestamptz,
    fields_by   uuid,
    facts       jsonb,
    facts_by    uuid,
    rank        bigint not null default 0,
    as_of       bigint not null default 0,            -- when the machine read the facts, by this server's clock
    merged_into uuid,
    forgotten   boolean not null default false,
    touched     integer not null default 0,           -- raised to have the record told again
    bytes       bigint not null default 0,
    updated_at  timestamptz not null default now(),
    name        text generated always as (facts ->> 'name') stored,
    dir_name    text generated always as (facts ->> 'dir_name') stored,
    primary key (user_id, id)
);

create table if not exists public.projects (
    user_id     uuid not null default auth.uid() references public.accounts(user_id) on delete cascade,
    id          uuid not null,
    seq         bigint,
    version     bigint not null default 0,
    fields      jsonb not null default '{}',
    fields_at   timestamptz,
    fields_by   uuid,
    facts       jsonb,
    facts_by    uuid,
    rank        bigint not null default 0,
    as_of       bigint not null default 0,
    merged_into uuid,
    forgotten   boolean not null default false,
    touched     integer not null default 0,
    bytes       bigint not null default 0,
    updated_at  timestamptz not null default now(),
    name        text,                                 -- field; else the fact
    identity    text generated always as (facts ->> 'identity') stored,
    dir_name    text generated always as (facts ->> 'dir_name') stored,
    remote      text generated always as (facts ->> 'remote') stored,
    paths       jsonb generated always as (facts -> 'paths') stored,
    created_at  timestamptz generated always as (cogfs.time_of((facts ->> 'created_at')::bigint)) stored,
    primary key (user_id, id)
);

create table if not exists public.cognitive_commits (
    user_id       uuid not null default auth.uid() references public.accounts(user_id) on delete cascade,
    id            uuid not null,
    seq           bigint,
    version       bigint not null default 0,
    fields        jsonb not null default '{}',
    fields_at     timestamptz,
    fields_by     uuid,
    facts         jsonb,
    facts_by      uuid,
    rank          bigint not null default 0,
    as_of         bigint not null default 0,
    merged_into   uuid,
    forgotten     boolean not null default false,
    touched       integer not null default 0,
    bytes         bigint not null default 0,
    updated_at    timestamptz not null default now(),
    project_id    uuid,                               -- field; else the fact. Null: a marker
    title         text,                               -- field; else the fact
    hidden        boolean not null default false,
    published     boolean not null default false,
    display_order bigint not null default 0,
    tags          text[] not null default '{}',
    note          text not null default '',
    deleted_at    timestamptz,
    dir_name      text generated always as (facts ->> 'dir_name') stored,
    git_hash      text generated always as (facts ->> 'git_hash') stored,
    git_subject   text generated always as (facts ->> 'git_subject') stored,
    git_commits   jsonb generated always as (facts -> 'git_commits') stored,
    closed_by     text generated always as (facts ->> 'closed_by') stored,
    parallel      boolean generated always as ((facts ->> 'parallel')::boolean) stored,
    started_at    timestamptz generated always as (cogfs.time_of((facts ->> 'started_at')::bigint)) stored,
    closed_at     timestamptz generated always as (cogfs.time_of((facts ->> 'closed_at')::bigint)) stored,
    -- Whether it counts for the limit: one in the trash makes room.
    counted       boolean generated always as (deleted_at is null and not forgotten and merged_into is null) stored,
    primary key (user_id, id),
    foreign key (user_id, project_id) references public.projects(user_id, id) on delete cascade
);

create table if not exists public.sessions (
    user_id            uuid not null default auth.uid() references public.accounts(user_id) on delete cascade,
    id                 uuid not null,
    seq                bigint,
    version            bigint not null default 0,
    fields             jsonb not null default '{}',
    fields_at          timestamptz,
    fields_by          uuid,
    facts              jsonb,
    facts_by           uuid,
    rank               bigint not null default 0,
    as_of              bigint not null default 0,
    merged_into        uuid,
    forgotten          boolean not null default false,
    touched            integer not null default 0,
    bytes              bigint not null default 0,
    updated_at         timestamptz not null default now(),
    commit_id          uuid,                          -- null: a marker
    machine_id         uuid,
    deleted_at         timestamptz,
    -- What follows from the facts, set by a trigger: two dozen generated columns cost more than the row.
    parent_id          uuid,                          -- no reference: it may come later
    agent              text,
    agent_version      text,
    native_id          text,
    part               bigint,
    ordinal            bigint,
    subagent_kind      text,
    dir_name           text,
    title              text,
    cwd                text,
    git_branch         text,
    models             jsonb,
    files              jsonb,
    closed             boolean,
    started_at         timestamptz,
    ended_at           timestamptz,
    turn_count         bigint,
    prompt_count       bigint,
    tool_call_count    bigint,
    image_count        bigint,
    tokens_input       bigint,
    tokens_output      bigint,
    tokens_cache_read  bigint,
    tokens_cache_write bigint,
    raw_bytes          bigint,
    primary key (user_id, id),
    foreign key (user_id, commit_id) references public.cognitive_commits(user_id, id) on delete cascade,
    foreign key (user_id, machine_id) references public.machines(user_id, id) on delete cascade
);

-- Keyed by its place, by which contents are sent and asked for: a session's turns lie side by side. A record (`seq`) only when it
-- was deleted, restored or forgotten.
create table if not exists public.turns (
    user_id      uuid not null default auth.uid(),
    session_id   uuid not null,
    number       integer not null check (number >= 0),
    id           uuid not null,
    role         smallint,                            -- null: known as a record, its contents are not here; 0: forgotten, or purged
    at           bigint not null default 0,
    model        text,
    label        text,
    images       integer not null default 0,
    tool_name    text,
    tool_call_id text,
    tool_status  smallint not null default 0,
    text         text not null default '',
    tool_input   text,
    tool_output  text,
    bytes        integer not null generated always as (
        64 + octet_length(text) + coalesce(octet_length(tool_input), 0) + coalesce(octet_length(tool_output), 0)
           + coalesce(octet_length(label), 0) + coalesce(octet_length(model), 0) + coalesce(octet_length(tool_name), 0)
           + coalesce(octet_length(tool_call_id), 0) + coalesce(octet_length(fields::text), 0)
    ) stored,
    said_at      timestamptz generated always as (to_timestamp(at / 1000::double precision)) stored,
    seq          bigint,
    version      bigint not null default 0,
    fields       jsonb,
    fields_at    timestamptz,
    fields_by    uuid,
    forgotten    boolean not null default false,
    deleted_at   timestamptz,
    primary key (user_id, session_id, number),
    foreign key (user_id, session_id) references public.sessions(user_id, id) on delete cascade
);

-- A session's raw.jsonl in pieces, compressed with zstd by the client.
create table if not exists public.raw_chunks (
    user_id    uuid not null default auth.uid(),
    session_id uuid not null,
    number     integer not null check (number >= 0),
    start      bigint not null check (start >= 0),
    length     bigint not null check (length >= 0),
    data       bytea not null,
    bytes      integer not null generated always as (octet_length(data) + 32) stored,
    primary key (user_id, session_id, number),
    foreign key (user_id, session_id) references public.sessions(user_id, id) on delete cascade
);
-- It is compressed already.
alter table public.raw_chunks alter column data set storage external;

create table if not exists public.message_usage (
    user_id     uuid not null default auth.uid(),
    session_id  uuid not null,
    key         uuid not null,
    model       text,
    input       bigint not null,
    output      bigint not null,
    cache_read  bigint not null,
    cache_write bigint not null,
    bytes       integer not null generated always as (64 + coalesce(octet_length(model), 0)) stored,
    primary key (user_id, session_id, key),
    foreign key (user_id, session_id) references public.sessions(user_id, id) on delete cascade
);

-- The objects of the bucket, each counted once however often it is shown. One that nothing shows any more stays noted for a while,
-- so that a client which did not hear that it may remove it hears it again.
create table if not exists public.visual_objects (
    user_id   uuid not null default auth.uid() references public.accounts(user_id) on delete cascade,
    name      text not null check (name ~ '^[0-9a-f]{64}\.[a-z]+$'),
    size      bigint not null check (size >= 0),
    unused_at timestamptz,
    bytes     bigint not null generated always as (case when unused_at is null then size else 0 end) stored,
    primary key (user_id, name)
);

-- The pictures, as the facts of their sessions have them.
create table if not exists public.visuals (
    user_id     uuid not null default auth.uid(),
    session_id  uuid not null,
    id          uuid not null,
    turn        integer not null,
    ordinal     integer not null,
    file_name   text not null check (octet_length(file_name) <= 1024), -- what is not counted is bounded
    sha256      text not null,
    mime        text not null check (octet_length(mime) <= 255),
    bytes       bigint not null,
    captured_at timestamptz not null,
    object_name text not null generated always as (cogfs.object_name(sha256, mime)) stored,
    primary key (user_id, session_id, id),
    foreign key (user_id, session_id) references public.sessions(user_id, id) on delete cascade,
    foreign key (user_id, object_name) references public.visual_objects(user_id, name) on delete cascade
);

create unique index if not exists machines_by_seq on public.machines(user_id, seq);
create unique index if not exists projects_by_seq on public.projects(user_id, seq);
create unique index if not exists cognitive_commits_by_seq on public.cognitive_commits(user_id, seq);
create unique index if not exists sessions_by_seq on public.sessions(user_id, seq);
create unique index if not exists turns_by_seq on public.turns(user_id, seq) where seq is not null;
create index if not exists cognitive_commits_by_project on public.cognitive_commits(user_id, project_id, closed_at);
create index if not exists cognitive_commits_deleted on public.cognitive_commits(user_id, deleted_at) where deleted_at is not null;
create index if not exists sessions_by_commit on public.sessions(user_id, commit_id);
create index if not exists sessions_by_machine on public.sessions(user_id, machine_id);
create index if not exists sessions_deleted on public.sessions(user_id, deleted_at) where deleted_at is not null;
create index if not exists turns_by_id on public.turns(user_id, id);
create index if not exists turns_deleted on public.turns(user_id, deleted_at) where deleted_at is not null;
create index if not exists visuals_by_object on public.visuals(user_id, object_name);

-- lz4 takes a fraction of pglz's time on long texts; a server built without it keeps pglz.
do $$
begin
    alter table public.turns alter column text set compression lz4, alter column tool_input set compression lz4,
        alter column tool_output set compression lz4;
    alter table public.sessions alter column facts set compression lz4;
exception when feature_not_supported then null;
end
$$;
