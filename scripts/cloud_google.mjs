// Loaded into @supabase/lite before it starts (`node --import`): its addresses of Google are fixed, and go to the stack's stand-in.
const stand_in = process.env.COGFS_STACK_GOOGLE;
const hosts = ['https://oauth2.googleapis.com/', 'https://www.googleapis.com/'];
const real = globalThis.fetch;

globalThis.fetch = (resource, options) => {
  const url = typeof resource === 'string' || resource instanceof URL ? String(resource) : resource.url;
  const host = hosts.find((host) => url.startsWith(host));
  return real(host ? `${stand_in}/${url.slice(host.length)}` : resource, options);
};
