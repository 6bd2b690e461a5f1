// Reads all content of an account with StackOne's own client, changes the title of each record, writes the whole record
// back, and writes to stdout with which statuses that was answered.
const { StackOne } = require("@stackone/stackone-client-ts");

const [url, key, xAccountId] = process.argv.slice(2);
const client = new StackOne({ serverURL: url, security: { username: key, password: "" } });

async function main() {
  const records = [];
  let next;
  do {
    const page = await client.lms.listContent({ xAccountId, pageSize: "100", next });
    records.push(...page.contentPaginated.data);
    next = page.contentPaginated.next;
  } while (next);
  const statuses = {};
  for (const record of records) {
    const lmsUpsertContentRequestDto = { ...record, title: `${record.title} (edited)` };
    const { statusCode } = await client.lms.upsertContent({ xAccountId, lmsUpsertContentRequestDto });
    statuses[statusCode] = (statuses[statusCode] ?? 0) + 1;
  }
  console.log(JSON.stringify({ read: records.length, statuses }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
