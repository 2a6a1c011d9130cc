/** The servers that tests need; `scripts/services` has the machinery. */
import nodeTest, { describe, it } from 'node:test';
import { type Service, serviceAvailable } from '../../scripts/services';

export {
  type Availability,
  freePort,
  type PostgresOptions,
  promote,
  type RedisCluster,
  type RedisOptions,
  type RedisSentinel,
  type Server,
  type Service,
  servicesAvailable,
  sharedMongo,
  sharedPostgres,
  sharedRedis,
  sql,
  startMongo,
  startMongoReplicaSet,
  startPgBouncer,
  startPostgres,
  startRedis,
  startRedisCluster,
  startRedisSentinel,
  until,
} from '../../scripts/services';

/** Not to be had from any package registry, so a run on CI may lack them; their cases are then skipped by name. */
const OPTIONAL: ReadonlySet<Service> = new Set(['realMongo', 'mongod']);

type Declare = (name: string, ...rest: unknown[]) => void;

/**
 * Runs `declare`, from a CommonJS test file, so that every `it`, `test` and nested `describe` in it becomes a skipped case of the same name,
 * and hooks become nothing. Skipping the whole `describe` instead would hide the names of its cases.
 */
function declareSkipped(reason: string, declare: () => void): void {
  const { it: realIt, describe: realDescribe } = nodeTest;
  const skip: Declare = (name) => void realIt(name, { skip: reason });
  const group: Declare = (name, ...rest) => {
    const body = rest.find((value): value is () => void => typeof value === 'function');
    realDescribe(name, () => body?.());
  };
  const withVariants = (base: Declare) => Object.assign(base, { skip: base, todo: base, only: base });
  const nothing = (): void => {};
  const replacements = {
    it: withVariants(skip),
    test: skip,
    describe: withVariants(group),
    suite: group,
    before: nothing,
    after: nothing,
    beforeEach: nothing,
    afterEach: nothing,
  };
  const exported = nodeTest as unknown as Record<string, unknown>;
  const originals = Object.fromEntries(Object.keys(replacements).map((name) => [name, exported[name]]));
  Object.assign(exported, replacements);
  try {
    declare();
  } finally {
    Object.assign(exported, originals);
  }
}

/**
 * `describe` for cases that need servers. Where one is missing they are skipped, each by its name, with what to
 * install; with `CI=true` they fail instead, except that a real MongoDB is optional even there.
 *
 * `declare` must be synchronous and use the named exports of `node:test` (`it`, `test`, `before` …). In an `.mts`
 * file the group is skipped as a whole, by its own name.
 */
export function describeWith(needs: Service | readonly Service[], name: string, declare: () => void): void {
  const services = typeof needs === 'string' ? [needs] : needs;
  const missing = services.flatMap((service) => {
    const answer = serviceAvailable(service);
    return answer === true ? [] : [{ service, reason: answer }];
  });
  if (missing.length === 0) {
    describe(name, declare);
    return;
  }
  const reasons = missing.map(({ reason }) => reason).join('; ');
  if (process.env.CI === 'true' && missing.some(({ service }) => !OPTIONAL.has(service))) {
    describe(name, () => {
      it('has the servers it needs', () => {
        throw new Error(reasons);
      });
    });
    return;
  }
  // The names that an ES module imports from a builtin cannot be replaced, so there the group stands for its cases.
  const isModule = /\.m[jt]s$/.test(process.argv[1] ?? '');
  if (isModule) describe(name, { skip: reasons }, declare);
  else describe(name, () => declareSkipped(reasons, declare));
}
