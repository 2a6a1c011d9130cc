import { jidDecode, jidEncode } from 'baileys';
import type { Connection } from './connection.mjs';
import type { KeyBundle } from './key-bundle.mjs';
import { Mailbox } from './mailbox.mjs';
import { Phone } from './phone.mjs';
import type { Stats } from './stats.mjs';

/** A linked companion: one Baileys client. */
export interface Device {
  account: Account;
  number: number;
  /** `<phone>:<device>@s.whatsapp.net` */
  jid: string;
  /** `<lid>:<device>@lid` */
  lid: string;
  /** The Noise static key it paired with: whoever proves to hold it is logged in. */
  credential: Buffer;
  bundle: KeyBundle;
  /** One-time pre-keys nobody has fetched yet. */
  preKeys: Map<number, Buffer>;
  /** Every one-time pre-key ever uploaded, to notice a client that lost count. */
  everUploaded: Map<number, string>;
  mailbox: Mailbox;
  connection: Connection | undefined;
  /** Set once it pulled the app state, the last step of a first login. */
  synced: boolean;
}

export interface Account {
  user: string;
  lidUser: string;
  name: string;
  phone: Phone;
  devices: Map<number, Device>;
  /** App state patches by collection; patch `n` brings version `n + 1`. */
  appState: Map<string, Buffer[]>;
}

export interface Group {
  jid: string;
  subject: string;
  creator: Account;
  members: Set<Account>;
  created: string;
}

/** Who exists: accounts with their phones and companions, and groups. */
export class Directory {
  private readonly accounts: Account[] = [];
  readonly groups = new Map<string, Group>();

  constructor(private readonly stats: Stats) {}

  /** The account behind a phone-number or LID JID, whatever the device. */
  account(jid: string | undefined): Account | undefined {
    const decoded = jidDecode(jid);
    if (!decoded) return undefined;
    const isLid = decoded.server === 'lid';
    return this.accounts.find((account) => (isLid ? account.lidUser : account.user) === decoded.user);
  }

  /** The companion a JID names; phones (device 0) are not companions. */
  device(jid: string | undefined): Device | undefined {
    return this.account(jid)?.devices.get(jidDecode(jid)?.device ?? 0);
  }

  *devices(): Iterable<Device> {
    for (const account of this.accounts) yield* account.devices.values();
  }

  createAccount(user = `1555000${1000 + this.accounts.length}`, name = `Phone ${user}`): Account {
    if (this.account(`${user}@s.whatsapp.net`)) throw new Error(`account ${user} exists`);
    const account: Account = {
      user,
      lidUser: `9${100_000_000_000 + this.accounts.length}`,
      name,
      phone: new Phone(),
      devices: new Map(),
      appState: new Map(),
    };
    this.accounts.push(account);
    return account;
  }

  /** The number the next companion of an account gets; numbers are never used twice. */
  nextDeviceNumber = (() => {
    const last = new Map<Account, number>();
    return (account: Account): number => {
      const number = (last.get(account) ?? 0) + 1;
      last.set(account, number);
      return number;
    };
  })();

  addDevice(account: Account, number: number, credential: Buffer, bundle: KeyBundle): Device {
    const device: Device = {
      account,
      number,
      jid: jidEncode(account.user, 's.whatsapp.net', number),
      lid: jidEncode(account.lidUser, 'lid', number),
      credential,
      bundle,
      preKeys: new Map(),
      everUploaded: new Map(),
      mailbox: new Mailbox((again) => {
        this.stats.deliveries += 1;
        if (again) this.stats.redeliveries += 1;
      }),
      connection: undefined,
      synced: false,
    };
    account.devices.set(number, device);
    return device;
  }
}
