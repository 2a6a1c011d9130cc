// biome-ignore-all lint/suspicious/noTsIgnore: which name is missing depends on the user, so no error is sure

/*
 * The types of whichever Baileys is installed, `baileys` or `@whiskeysockets/baileys`. What comes from the name that is
 * not installed is `any`, and only of `any` every string is a key: that is what the conditional types below ask, because
 * asked about the type itself the compiler would answer `any` again. The comments that allow it to be missing are doc
 * comments because only those reach the declarations, and each must stand right above a line that is not wrapped.
 */

/** @ts-ignore */
import type * as ScopedName from '@whiskeysockets/baileys' with { 'resolution-mode': 'import' };
/** @ts-ignore */
import type * as ShortName from 'baileys' with { 'resolution-mode': 'import' };

/** `AuthenticationState` of the installed Baileys. */
export type AuthenticationState = string extends keyof ShortName.AuthenticationState
  ? ScopedName.AuthenticationState
  : ShortName.AuthenticationState;

/** `AuthenticationCreds` of the installed Baileys. */
export type AuthenticationCreds = AuthenticationState['creds'];

/** `SignalDataTypeMap` of the installed Baileys: record type to the type of its values. */
export type SignalDataTypeMap = string extends keyof ShortName.SignalDataTypeMap
  ? ScopedName.SignalDataTypeMap
  : ShortName.SignalDataTypeMap;

/** `SignalKeyStore` of the installed Baileys. */
export type SignalKeyStore = AuthenticationState['keys'];

/** What the store needs of Baileys at run time; the module itself satisfies it. */
export interface BaileysModule {
  initAuthCreds(): AuthenticationCreds;
  proto: { Message: { AppStateSyncKeyData: { fromObject(value: Record<string, unknown>): unknown } } };
}
