import { Scratch } from '../codec/index.js';
import { fromNative, StorageError } from '../errors.js';
import type { NativeCore, NativeCoreClass } from './abi.js';
import {
  type Batch,
  type Committed,
  type Completion,
  isRead,
  Kind,
  type NativeEvent,
  type Receiver,
  readBatch,
  readJson,
} from './completion.js';
import { loadNative } from './load.js';

/** Longest delay a timer takes; the timer is never meant to fire. */
const FOREVER = 0x7fffffff;
/** Settled in one turn of the event loop, whose continuations may each take a tenth of a millisecond. */
const SETTLED_AT_ONCE = 128;

/**
 * One thread's connection to the core: the requests under way, the scratch that frames are written into, and what
 * keeps the process alive. While a request is pending the process stays; nothing else here holds it.
 */
export class CoreThread {
  readonly scratch = new Scratch();
  readonly core: NativeCore;
  private readonly pending = new Map<number, (completion: Completion) => void>();
  private readonly listeners = new Set<(event: NativeEvent, first: boolean) => void>();
  private readonly keepAlive = setInterval(() => {}, FOREVER).unref();
  /** Batches of which something is left to settle, in the order in which they came. */
  private readonly left: Batch[] = [];
  private readonly receiver: Receiver = {
    completed: (request, completion) => {
      const settle = this.pending.get(request);
      if (settle !== undefined) {
        this.pending.delete(request);
        settle(completion);
      }
    },
    happened: (event) => {
      let first = true;
      for (const listener of this.listeners) {
        listener(event, first);
        first = false;
      }
    },
  };

  constructor(Core: NativeCoreClass) {
    this.core = new Core((bytes) => {
      this.left.push({ bytes, at: 0 });
      if (this.left.length === 1) {
        this.deliver();
      }
    });
  }

  /**
   * Calls `listener` with every event of the core until the returned function is called. `first` is true for the
   * oldest listener, which handles the events that belong to no store.
   */
  listen(listener: (event: NativeEvent, first: boolean) => void): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  /** Settles when the core has answered `request`; it never rejects. */
  wait(request: number): Promise<Completion> {
    if (this.pending.size === 0) {
      this.keepAlive.ref();
    }
    return new Promise((resolve) => {
      this.pending.set(request, resolve);
    });
  }

  // The error of each of these is made here, after the await, because only then does V8 put the functions that wait
  // for this one on its stack.

  async committed(request: number): Promise<Committed> {
    const completion = await this.wait(request);
    if (!completion.ok) {
      throw fromNative(completion.error);
    }
    return expectKind(completion, Kind.committed).committed;
  }

  async json(request: number): Promise<unknown> {
    const completion = await this.wait(request);
    if (!completion.ok) {
      throw fromNative(completion.error);
    }
    return readJson(expectKind(completion, Kind.json).payload);
  }

  async done(request: number): Promise<void> {
    const completion = await this.wait(request);
    if (!completion.ok) {
      throw fromNative(completion.error);
    }
  }

  async answer(request: number): Promise<Buffer> {
    const completion = await this.wait(request);
    if (!completion.ok) {
      throw fromNative(completion.error);
    }
    return expectKind(completion, Kind.answer).payload;
  }

  /** A snapshot's payload, or undefined when there is no such session. */
  async snapshot(request: number): Promise<Buffer | undefined> {
    const completion = await this.wait(request);
    if (!completion.ok) {
      throw fromNative(completion.error);
    }
    return completion.kind === Kind.json ? undefined : expectKind(completion, Kind.snapshot).payload;
  }

  /** Settles some of what the core has answered and leaves the rest to later turns of the event loop. */
  private deliver(): void {
    const batch = this.left[0] as Batch;
    try {
      readBatch(batch, SETTLED_AT_ONCE, this.receiver);
    } finally {
      if (isRead(batch)) {
        this.left.shift();
      }
      if (this.left.length > 0) {
        setImmediate(() => {
          this.deliver();
        });
      } else if (this.pending.size === 0) {
        this.keepAlive.unref();
      }
    }
  }
}

function expectKind<K extends number>(
  completion: Completion & { ok: true },
  kind: K,
): Extract<Completion, { ok: true; kind: K }> {
  if (completion.kind !== kind) {
    throw new StorageError(
      'INTERNAL',
      `the core answered with kind ${completion.kind} instead of ${kind}`,
      false,
      {
        layer: 'native',
      },
    );
  }
  return completion as Extract<Completion, { ok: true; kind: K }>;
}

let thread: CoreThread | undefined;

/**
 * This thread's connection, made at first use. Each worker thread loads this module anew and so has its own.
 *
 * @throws StorageError with code NATIVE_MISSING when there is no binary for this platform
 */
export function coreThread(): CoreThread {
  thread ??= new CoreThread(loadNative());
  return thread;
}
