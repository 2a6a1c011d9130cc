import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CryptoService, createCryptoService } from '../../../lib/compat/crypto.js';
import { DEFAULT_SECURITY_CONFIG, DEFAULT_TTL_CONFIG } from '../../../lib/compat/defaults.js';
import { createCodecService, servicesOf } from '../../../lib/compat/services.js';
import { resolveRedisStore } from '../../../lib/options/servers.js';
import { KEY, OTHER_KEY, REDIS, refused } from './resolve.js';

describe('crypto and codec services', () => {
  it('seal the store they are given to', async () => {
    const security = { ...DEFAULT_SECURITY_CONFIG, encryptionAlgorithm: 'aes-256-gcm' as const };
    const crypto = await createCryptoService(security, OTHER_KEY);
    await crypto.rotateKey(KEY);
    const services = servicesOf(crypto, createCodecService({ ...security, compressionAlgorithm: 'gzip' }));
    const settings = resolveRedisStore({ redisUrl: REDIS, ttl: DEFAULT_TTL_CONFIG }, services);
    assert.deepEqual(settings.config.security, {
      encryption: 'aes-256-gcm',
      compression: 'gzip',
      acceptPlain: false,
    });
    assert.deepEqual(settings.security.masterKey, Buffer.from(KEY, 'hex'));
    assert.deepEqual(settings.security.previousMasterKeys, [Buffer.from(OTHER_KEY, 'hex')]);
  });

  it('refuse to seal with nothing', async () => {
    await assert.rejects(createCryptoService(DEFAULT_SECURITY_CONFIG), { field: 'masterKey' });
    const services = servicesOf(new CryptoService(DEFAULT_SECURITY_CONFIG));
    assert.equal(refused(() => resolveRedisStore({ redisUrl: REDIS }, services)).field, 'config.masterKey');
  });

  it('round-trip values', async () => {
    const codec = createCodecService(DEFAULT_SECURITY_CONFIG);
    const value = { a: Buffer.from([1, 2]), b: [1n, null] };
    assert.deepEqual(await codec.decode(await codec.encode(value)), value);
    assert.deepEqual(codec.getStats(), { compressor: 'snappy', enabled: true });
  });
});
