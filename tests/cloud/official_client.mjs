// Supabase's own client against the stack: what it gets of the functions, sign-in and pictures. Prints JSON; test_gateway.py judges.
import { createHash, randomUUID } from "node:crypto";
import { createRequire } from "node:module";

const { COGFS_STACK_URL: url, COGFS_STACK_ANON_KEY: key, COGFS_STACK_PACKAGES: packages } = process.env;
const { createClient } = createRequire(packages + "/package.json")("@supabase/supabase-js");
// Node 20 has no WebSocket, and no channel is opened here.
const client = createClient(url, key, { auth: { persistSession: false, autoRefreshToken: false }, realtime: { transport: class {} } });
const told = {};
const email = `${randomUUID()}@example.test`;
const signUp = await client.auth.signUp({ email, password: "correct horse" });
told.user = signUp.data.user?.id;
told.token = signUp.data.session?.access_token;
const [machine, project, commit] = [randomUUID(), randomUUID(), randomUUID()];
const changes = [
    { op: "facts", kind: "project", id: project, rank: 1, facts: { identity: "path:/x", name: "x", dir_name: "x", created_at: 1, updated_at: 1 } },
    { op: "facts", kind: "commit", id: commit, rank: 1, facts: { project, dir_name: "c", title: "found", closed_at: 5, started_at: 1 } },
    { op: "fields", kind: "commit", id: commit, base_version: 0, fields: { title: "By hand" } },
];
told.push = await client.rpc("sync_push", { protocol: 1, machine, changes });
told.pull = await client.rpc("sync_pull", { protocol: 1, since: 0, max: 10 });
told.fetch = await client.rpc("fetch_contents", { protocol: 1, ids: [commit], after: null });
told.status = await client.rpc("sync_status", { protocol: 1 });
told.refused = await client.rpc("sync_status", { protocol: 9 });
told.select = await client.from("cognitive_commits").select("title, project:projects(name)").eq("id", commit);
told.update = await client.from("cognitive_commits").update({ hidden: true }).eq("id", commit).select("version");

const bytes = Buffer.from("a picture");
const name = `${told.user}/${createHash("sha256").update(bytes).digest("hex")}.png`;
const bucket = client.storage.from("visuals");
const upload = (options) => bucket.upload(name, new Blob([bytes], { type: "image/png" }), { contentType: "image/png", ...options });
told.upload = await upload({});
told.again = (await upload({})).error;
told.over = (await upload({ upsert: true })).error;
told.download = await (await bucket.download(name)).data?.text();
told.signed = await (await fetch((await bucket.createSignedUrl(name, 60)).data.signedUrl)).text();
told.list = (await bucket.list(told.user)).data?.length;
told.remove = (await bucket.remove([name])).data?.length;
told.gone = (await bucket.download(name)).error?.name;
console.log(JSON.stringify(told));
