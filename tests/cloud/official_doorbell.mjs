// Supabase's own client at the doorbell: what it hears when the head moves. Prints JSON; test_realtime.py judges.
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";

const { COGFS_STACK_URL: url, COGFS_STACK_ANON_KEY: key, COGFS_STACK_PACKAGES: packages } = process.env;
const { createClient } = createRequire(packages + "/package.json")("@supabase/supabase-js");
const told = {};
for (const vsn of ["1.0.0", "2.0.0"]) {
    const client = createClient(url, key, { auth: { persistSession: false, autoRefreshToken: false }, realtime: { vsn, heartbeatIntervalMs: 300 } });
    const signUp = await client.auth.signUp({ email: `${randomUUID()}@example.test`, password: "correct horse" });
    const user = signUp.data.user.id;
    const beats = [];
    client.realtime.onHeartbeat((status) => beats.push(status));
    const [machine, project] = [randomUUID(), randomUUID()];
    const facts = (name) => ({ op: "facts", kind: "project", id: project, rank: 1, facts: { identity: "path:/x", name, dir_name: "x", created_at: 1, updated_at: 1 } });
    const push = async (name) => (await client.rpc("sync_push", { protocol: 1, machine, changes: [facts(name)] })).error;
    const states = [];
    const own = { event: "*", schema: "public", table: "sync_heads", filter: `user_id=eq.${user}` };
    const events = [];
    // Not ours: nothing may be heard of it.
    const others = { ...own, filter: `user_id=eq.${randomUUID()}` };
    let heard;
    const rang = () => new Promise((resolve) => (heard = resolve));
    const channel = client.channel("a name").on("postgres_changes", own, (event) => {
        events.push({ type: event.eventType, table: event.table, new: event.new, errors: event.errors });
        heard?.();
    });
    const stranger = client.channel("another").on("postgres_changes", others, () => states.push("a stranger's head"));
    const listens = (which) => new Promise((resolve, reject) => {
        which.on("system", {}, (message) => message.extension === "postgres_changes" && resolve(message));
        which.subscribe((state, error) => (states.push(state), error && reject(error)));
    });
    const system = await listens(channel);
    await listens(stranger);
    for (const name of ["one", "two"]) {
        const wait = rang();
        const error = await push(name);
        if (error) throw error;
        await wait;
    }
    while (beats.filter((status) => status === "ok").length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    const left = await client.removeChannel(channel);
    await client.removeAllChannels();
    await client.realtime.disconnect();
    told[vsn] = { user, states, system, events, left };
}
console.log(JSON.stringify(told));
process.exit(0);
