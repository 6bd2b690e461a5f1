// Calls the sandbox with StackOne's own client, and writes what it understood to stdout.
const { StackOne } = require("@stackone/stackone-client-ts");

const [url, key] = process.argv.slice(2);
const client = new StackOne({ serverURL: url, security: { username: key, password: "" } });

async function main() {
  const listed = await client.accounts.listLinkedAccounts({ pageSize: 2, providers: ["kestrel", "northlight"], status: ["active"] });
  const second = await client.accounts.listLinkedAccounts({ page: 2, pageSize: 3 });
  const one = await client.accounts.getAccount({ id: listed.classes[0].id });
  const meta = await client.accounts.getAccountMetaInfo({ id: listed.classes[0].id });
  const session = await client.connectSessions.createConnectSession({ originOwnerId: "customer-9", originOwnerName: "Nine" });
  const created = session.connectSessionTokenAuthLink;
  const seen = await client.connectSessions.authenticateConnectSession({ token: created.token });
  const logs = await client.requestLogs.listLogs({ pageSize: 1, include: "step_logs", filter: { statusCodes: "200" } });
  const log = logs.unifiedLogsPaginated.data[0];
  const whole = await client.requestLogs.getLog({ id: log.requestId, include: "advanced_logs" });
  console.log(
    JSON.stringify({
      listed: listed.classes.map((account) => account.id),
      second: second.classes.map((account) => [account.status, account.statusReasons?.[0]?.code]),
      one: one.linkedAccount,
      meta: meta.linkedAccountMeta,
      session: [created.originOwnerId, created.authLinkUrl.includes(created.token), seen.connectSession.originOwnerName],
      log: [log.resource, log.stepRequests.length, whole.unifiedLogResult.data.stepRequests[0].response.statusCode],
    }),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
