import type { BaileysModule } from './types.js';

type FromObject = BaileysModule['proto']['Message']['AppStateSyncKeyData']['fromObject'];

interface MessageType {
  fromObject?: unknown;
  create?: (value: object) => unknown;
}

/**
 * What makes Baileys' own message of a stored app-state-sync-key: its `fromObject`, or for 7.0.0-rc.1 to rc.5, which
 * have none, `create` after the conversions that `fromObject` does. Undefined when `proto` is not Baileys'.
 */
export function appStateSyncKeyReader(proto: unknown): FromObject | undefined {
  const message = (proto as { Message?: Record<string, MessageType> } | undefined)?.Message;
  const type = message?.AppStateSyncKeyData;
  if (typeof type?.fromObject === 'function') {
    // Called on the type at the time: it may be replaced, and it uses `this` in some releases.
    return (value) => (type.fromObject as FromObject)(value);
  }
  const { create } = type ?? {};
  const createFingerprint = message?.AppStateSyncKeyFingerprint?.create;
  if (typeof create !== 'function') {
    return undefined;
  }
  return (value) => {
    const { keyData, fingerprint, timestamp, ...rest } = value;
    return create({
      ...rest,
      // Releases whose messages have a toJSON write bytes as base64 and Long as text.
      ...(isNothing(keyData) ? {} : { keyData: bytes(keyData) }),
      ...(isNothing(fingerprint)
        ? {}
        : { fingerprint: createFingerprint?.(fingerprint as object) ?? fingerprint }),
      ...(isNothing(timestamp)
        ? {}
        : { timestamp: typeof timestamp === 'string' ? Number(timestamp) : timestamp }),
    });
  };
}

const isNothing = (value: unknown): value is null | undefined => value === null || value === undefined;

const bytes = (value: unknown): unknown => (typeof value === 'string' ? Buffer.from(value, 'base64') : value);
