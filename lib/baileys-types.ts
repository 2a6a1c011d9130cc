// biome-ignore-all lint/suspicious/noTsIgnore: which of the two names is missing depends on the user, so nothing is sure to be an error
/**
 * The types of whichever Baileys is installed, `baileys` or `@whiskeysockets/baileys`. The name that is not installed
 * resolves to `any`, which the conditional types step over. These must stay doc comments: plain ones are dropped from
 * the declarations, and the error of the missing name would reach the user.
 */

/** @ts-ignore the package may be installed under the other name */
type ShortName = import('baileys', { with: { 'resolution-mode': 'import' }}).AuthenticationState;

/** @ts-ignore the package may be installed under the other name */
type ScopedName = import('@whiskeysockets/baileys', { with: {
  'resolution-mode': 'import',
}}).AuthenticationState;

/** @ts-ignore the package may be installed under the other name */
type ShortNameMap = import('baileys', { with: { 'resolution-mode': 'import' }}).SignalDataTypeMap;

/** @ts-ignore the package may be installed under the other name */
type ScopedNameMap = import('@whiskeysockets/baileys', { with: {
  'resolution-mode': 'import',
}}).SignalDataTypeMap;

type IsAny<T> = 0 extends 1 & T ? true : false;

/** `AuthenticationState` of the installed Baileys. */
export type AuthenticationState = IsAny<ShortName> extends true ? ScopedName : ShortName;

/** `AuthenticationCreds` of the installed Baileys. */
export type AuthenticationCreds = AuthenticationState['creds'];

/** `SignalDataTypeMap` of the installed Baileys: record type to the type of its values. */
export type SignalDataTypeMap = IsAny<ShortNameMap> extends true ? ScopedNameMap : ShortNameMap;

/** `SignalKeyStore` of the installed Baileys. */
export type SignalKeyStore = AuthenticationState['keys'];

/** What the store needs of Baileys at run time; the module itself satisfies it. */
export interface BaileysModule {
  initAuthCreds(): AuthenticationCreds;
  proto: { Message: { AppStateSyncKeyData: { fromObject(value: Record<string, unknown>): unknown } } };
}
