export interface SignedPreKey {
  id: number;
  key: Buffer;
  signature: Buffer;
}

/** What somebody needs to open a session with a device; one-time pre-keys aside. */
export interface KeyBundle {
  registrationId: number;
  identity: Buffer;
  signedPreKey: SignedPreKey;
}
