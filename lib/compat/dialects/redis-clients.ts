/** The option names of ioredis and node-redis. */
import type { Dialect, Hints, Names } from './names.js';

/** What each option for a Redis server may be called, our name first. */
const NAMES = {
  url: ['redisUrl', 'url'],
  host: ['host'],
  port: ['port'],
  path: ['path'],
  username: ['username'],
  password: ['password'],
  db: ['db', 'database'],
  prefix: ['prefix', 'keyPrefix'],
  tls: ['tls'],
  sentinels: ['sentinels'],
  name: ['name'],
  sentinelUsername: ['sentinelUsername'],
  sentinelPassword: ['sentinelPassword'],
  waitReplicas: ['waitReplicas'],
} as const satisfies Readonly<Record<string, Names>>;

/** Options that programs set for ioredis or node-redis and that change nothing here. */
const IDLE = {
  family: 'every address of the host is tried',
  commandTimeout: 'see resilience.operationTimeout',
  connectTimeout: 'see resilience.operationTimeout',
  socketTimeout: 'see resilience.operationTimeout',
  disconnectTimeout: 'see resilience.operationTimeout',
  blockingTimeout: 'no command blocks',
  maxRetriesPerRequest: 'see resilience.maxRetries',
  retryStrategy: 'see resilience.retryBaseDelay',
  reconnectOnError: 'see resilience.maxRetries',
  sentinelRetryStrategy: 'see resilience.retryBaseDelay',
  sentinelReconnectStrategy: 'see resilience.retryBaseDelay',
  sentinelMaxConnections: 'all sentinels are asked at once',
  sentinelCommandTimeout: 'see resilience.operationTimeout',
  failoverDetector: 'a failover is noticed by itself',
  updateSentinels: 'the sentinels given are asked',
  enableTLSForSentinelMode: 'tls is for the sentinels too',
  preferredSlaves: 'only the master is asked',
  maxLoadingRetryTime: 'see openTimeout',
  enableOfflineQueue: 'see resilience.operationTimeout',
  disableOfflineQueue: 'see resilience.operationTimeout',
  commandsQueueMaxLength: '',
  enableReadyCheck: '',
  lazyConnect: 'the hook connects',
  keepAlive: '',
  noDelay: 'always on',
  connectionName: '',
  clientName: '',
  clientInfoTag: '',
  disableClientInfo: '',
  autoResubscribe: 'nothing is subscribed to',
  autoResendUnfulfilledCommands: 'see resilience.maxRetries',
  autoPipelining: 'always on',
  enableAutoPipelining: 'always on',
  autoPipeliningIgnoredCommands: '',
  showFriendlyErrorStack: '',
  stringNumbers: '',
  protocol: '',
  RESP: '',
  pingInterval: '',
  offlineQueue: 'see resilience.operationTimeout',
  scripts: '',
  role: 'only the master is asked',
} as const satisfies Hints;

/** The same as a type: programs pass them on, whatever their values. */
export type IdleRedisOptions = { readonly [Name in keyof typeof IDLE]?: unknown };

/** Options of these clients that ask for what this store does not do. */
const UNSUPPORTED: Hints = {
  natMap:
    'let sentinels and nodes announce addresses that can be reached (sentinel announce-ip, cluster-announce-ip)',
  dnsLookup: 'names are resolved by the system',
  readOnly: 'the session is written here',
  monitor: 'the connection is the store’s own',
  scaleReads: 'only masters are asked',
  sentinelTLS: 'the option tls is for the sentinels too',
  socket: 'give host, port, path and tls themselves',
  Connector: 'give host and port, path, or sentinels',
  connector: 'give host and port, path, or sentinels',
  cluster: 'give redisUrl: redis+cluster://host:port,host:port',
  nodes: 'give redisUrl: redis+cluster://host:port,host:port',
  rootNodes: 'give redisUrl: redis+cluster://host:port,host:port',
  clusterNodes: 'give redisUrl: redis+cluster://host:port,host:port',
  redisOptions: 'give its options themselves',
  client: 'the connection belongs to the core: give redisUrl',
};

/** The options of a Redis server. */
export const REDIS_DIALECT: Dialect<keyof typeof NAMES> = {
  names: NAMES,
  idle: IDLE,
  unsupported: UNSUPPORTED,
};

/** Names in a URL's query that change nothing here, in lower case and without underscores. */
export const IDLE_IN_REDIS_URL: Hints = {
  ...Object.fromEntries(Object.entries(IDLE).map(([name, instead]) => [name.toLowerCase(), instead])),
  allowusernameinuri: '',
  healthcheckinterval: '',
  socketconnecttimeout: 'see resilience.operationTimeout',
  timeout: 'see resilience.operationTimeout',
  poolsize: 'one connection serves all',
};
