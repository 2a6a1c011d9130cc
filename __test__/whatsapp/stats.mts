/** What the server saw, for tests to judge clients by. All are counts since the start. */
export interface Stats {
  pairings: number;
  rejectedPairings: number;
  logins: number;
  /** Logins of unknown devices or with a Noise key other than the one paired. */
  rejectedLogins: number;
  preKeyUploads: number;
  /** Pre-keys uploaded again under an id that had named a different key: the client lost count. */
  preKeyConflicts: number;
  /** Messages clients sent. */
  messages: number;
  /** Stanzas put on the wire for a device, repetitions included. */
  deliveries: number;
  /** Stanzas a device had been sent before and never answered. */
  redeliveries: number;
  /** Retry receipts: a device could not decrypt a message and asks for it again. */
  retries: number;
  /** Stanzas clients refused, by error code. */
  nacks: Record<string, number>;
  /** Kinds of requests nobody here answers. */
  unhandled: string[];
}

export const newStats = (): Stats => ({
  pairings: 0,
  rejectedPairings: 0,
  logins: 0,
  rejectedLogins: 0,
  preKeyUploads: 0,
  preKeyConflicts: 0,
  messages: 0,
  deliveries: 0,
  redeliveries: 0,
  retries: 0,
  nacks: {},
  unhandled: [],
});
