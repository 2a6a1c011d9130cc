/** What only a real MongoDB does: it removes what has expired, and it elects a new primary. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, it } from 'node:test';
import { MongoClient } from 'mongodb';
import { useMongoAuthState } from '../../lib/index.js';
import { describeWith, sharedMongo, startMongoReplicaSet, until } from '../support/services.js';

/** The server looks for expired documents once a minute. */
const TTL_PATIENCE_MS = 180_000;

describeWith('realMongo', 'a real MongoDB', () => {
  it('removes an expired session, which was absent before that', async () => {
    const mongoUrl = await sharedMongo();
    const databaseName = `vault-ttl-${randomUUID()}`;
    const options = { sessionId: 'short', mongodb: { mongoUrl, databaseName, ttl: { defaultTtl: 1 } } };
    const { saveCreds, store } = await useMongoAuthState(options);
    await saveCreds();
    await store.close();
    const client = new MongoClient(mongoUrl);
    after(() => client.close());
    const sessions = client.db(databaseName).collection('vault_sessions');
    // It is removed a day late, so that a clock that is ahead by less removes nothing that is in use.
    const expiresAt = new Date(Date.now() - 25 * 3_600_000);
    const moved = await sessions.updateOne({ expiresAt: { $type: 'date' } }, { $set: { expiresAt } });
    assert.equal(moved.modifiedCount, 1);
    await until(
      'the server removes the session',
      async () => (await sessions.countDocuments()) === 0,
      TTL_PATIENCE_MS,
    );
    const again = await useMongoAuthState(options);
    assert.equal(await again.store.get('short'), null);
    await again.store.close();
    await client.db(databaseName).dropDatabase();
  });
});

describeWith('mongod', 'a replica set of MongoDB', () => {
  it('loses no acknowledged write when its primary is killed', async () => {
    const replicaSet = await startMongoReplicaSet();
    after(() => replicaSet.stop());
    const options = {
      sessionId: 'failover',
      mongodb: { mongoUrl: replicaSet.url, resilience: { operationTimeout: 30_000 } },
    };
    const { state, saveCreds, store } = await useMongoAuthState(options);
    await saveCreds();
    const acknowledged: string[] = [];
    const write = async (id: string): Promise<void> => {
      await state.keys.set({ 'lid-mapping': { [id]: id } });
      acknowledged.push(id);
    };
    for (let i = 0; i < 50; i += 1) await write(`before-${i}`);
    await (await replicaSet.primary()).kill();
    let tries = 0;
    await until('writes are taken again', () =>
      write(`after-${tries++}`).then(
        () => true,
        () => false,
      ),
    );
    for (let i = 0; i < 50; i += 1) await write(`later-${i}`);
    await store.close();
    const again = await useMongoAuthState(options);
    assert.deepEqual(
      Object.keys(await again.state.keys.get('lid-mapping', acknowledged)).sort(),
      acknowledged.sort(),
    );
    await again.store.close();
  });
});
