// Measures the official TypeScript SDK: `node bench.mjs JSON`; prints JSON.
import { StackOne } from "@stackone/stackone-client-ts";

const task = JSON.parse(process.argv[2]);
const client = new StackOne({ serverURL: task.url, security: { username: task.key, password: "" } });
const call =
  task.kind === "pages"
    ? () => client.lms.listCompletions({ xAccountId: task.account, pageSize: "100" })
    : () =>
        client.lms.getCompletion({
          xAccountId: task.account,
          id: task.id,
          raw: true,
          fields: "id,result,score",
          proxy: { include: "x" },
        });

async function run(calls, latencies) {
  let left = calls;
  const work = async () => {
    while (left > 0) {
      left -= 1;
      const began = performance.now();
      await call();
      latencies.push((performance.now() - began) * 1000);
    }
  };
  await Promise.all(Array.from({ length: task.concurrency }, work));
}

await run(Math.max(Math.floor(task.calls / 10), task.concurrency * 2), []);
const latencies = [];
const before = process.cpuUsage();
const began = performance.now();
await run(task.calls, latencies);
const wall = performance.now() - began;
const used = process.cpuUsage(before);
latencies.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    calls: task.calls,
    cpu_us: (used.user + used.system) / task.calls,
    wall_us: (wall * 1000) / task.calls,
    per_s: (task.calls / wall) * 1000,
    p99_us: latencies[Math.floor(latencies.length * 0.99)],
    rss_mb: process.resourceUsage().maxRSS / 1024,
  }),
);
