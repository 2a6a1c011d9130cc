/** The real `@luoarch/baileys-store-core`, the last release that there is, and its optional Snappy. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const PACKAGE = '@luoarch/baileys-store-core';
const PACKAGES = [`${PACKAGE}@1.0.0-rc.4`, '@napi-rs/snappy@1.0.2'];
/** What it takes from the program: these are the tests' own. */
const PEERS = { '@whiskeysockets/baileys': 'baileys', ioredis: 'ioredis', mongodb: 'mongodb' };
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

export function fetchLuoarch(folder) {
  if (existsSync(join(folder, 'node_modules', PACKAGE))) {
    return true;
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"name":"program","private":true,"type":"module"}');
  const options = ['--legacy-peer-deps', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  const { status } = spawnSync('npm', ['install', '--silent', ...options, ...PACKAGES], { cwd: folder });
  if (status !== 0) {
    return false;
  }
  mkdirSync(join(folder, 'node_modules/@whiskeysockets'), { recursive: true });
  for (const [name, own] of Object.entries(PEERS)) {
    symlinkSync(join(ROOT, 'node_modules', own), join(folder, 'node_modules', name));
  }
  return true;
}

const load = (folder) => import(pathToFileURL(join(folder, 'node_modules', PACKAGE, 'dist/index.js')).href);

const securityOf = ({ encryption, compression }) => ({
  enableEncryption: encryption !== undefined,
  encryptionAlgorithm: encryption ?? 'secretbox',
  keyRotationDays: 90,
  enableCompression: compression !== undefined,
  compressionAlgorithm: compression ?? 'snappy',
});

const TTL = { defaultTtl: 86_400, credsTtl: 86_400, keysTtl: 86_400, lockTtl: 5 };
const RESILIENCE = { operationTimeout: 5000, maxRetries: 3, retryBaseDelay: 100, retryMultiplier: 2 };

export async function openLuoarch(folder, { place, security, masterKey }) {
  const { createCryptoService, createCodecService, createRedisStore, createMongoStore } = await load(folder);
  const config = securityOf(security);
  const crypto = await createCryptoService(config, masterKey);
  const codec = createCodecService(config);
  const settings = { ...place, ttl: TTL, resilience: RESILIENCE };
  if ('redisUrl' in place) {
    return await createRedisStore(settings, crypto, codec);
  }
  return await createMongoStore(settings, crypto, codec);
}

export async function useLuoarch(folder, { place, security, masterKey, sessionId }) {
  const { useRedisAuthState, useMongoAuthState } = await load(folder);
  const options = {
    sessionId,
    masterKey,
    enableEncryption: security.encryption !== undefined,
    enableCompression: security.compression !== undefined,
  };
  if ('redisUrl' in place) {
    return await useRedisAuthState({ ...options, redis: place });
  }
  return await useMongoAuthState({
    ...options,
    mongodb: { ...place, ttl: TTL, resilience: RESILIENCE },
  });
}
