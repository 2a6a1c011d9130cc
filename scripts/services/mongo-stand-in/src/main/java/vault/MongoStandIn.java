package vault;

import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.h2.H2Database;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import io.netty.channel.Channel;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.h2.mvstore.MVStore;

/**
 * Serves the MongoDB wire protocol from one file, for tests on machines without a mongod.
 *
 * <p>Usage: {@code MongoStandIn <host> <port> <data file>}.
 */
public final class MongoStandIn {
  /** Drivers refuse wire versions below 9; the backend itself only goes up to 8 by default. */
  private static final MongoVersion VERSION =
      new MongoVersion() {
        @Override
        public List<Integer> getVersionArray() {
          return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
          return 9;
        }
      };

  private static final class DurableBackend extends H2Backend {
    private final ReadWriteLock underWay = new ReentrantReadWriteLock(true);
    private final AtomicLong handled = new AtomicLong();
    private volatile long committed;

    DurableBackend(MVStore store) {
      super(store);
    }

    @Override
    public Document handleCommand(Channel channel, String database, String command, Document query) {
      return super.handleCommand(channel, database, command.equals("hello") ? "ismaster" : command, query);
    }

    /**
     * Commits before the answer leaves, so that an acknowledged write survives a killed server, and while no other
     * message is half carried out: a document without its index would be there for ever.
     */
    @Override
    public Document handleMessage(MongoMessage message) {
      underWay.readLock().lock();
      try {
        return super.handleMessage(message);
      } finally {
        long mine = handled.incrementAndGet();
        underWay.readLock().unlock();
        commitUpTo(mine);
      }
    }

    private void commitUpTo(long message) {
      if (committed >= message) {
        return;
      }
      underWay.writeLock().lock();
      try {
        if (committed < message) {
          long last = handled.get();
          commit();
          committed = last;
        }
      } finally {
        underWay.writeLock().unlock();
      }
    }

    @Override
    protected MongoDatabase openOrCreateDatabase(String name) {
      // Not a class of its own: collections are opened while the parent is made, and need the store then.
      return new H2Database(name, getMvStore(), getCursorRegistry()) {
        @Override
        protected MongoCollection<Object> openOrCreateCollection(
            String collection, CollectionOptions options) {
          String full = getDatabaseName() + "." + collection;
          return new SeekingCollection(
              this,
              collection,
              options,
              getMvStore().openMap("databases." + full),
              getMvStore().openMap("meta." + full),
              cursorRegistry);
        }
      };
    }
  }

  private MongoStandIn() {}

  public static void main(String[] args) {
    MVStore store = new MVStore.Builder().fileName(args[2]).autoCommitDisabled().open();
    DurableBackend backend = new DurableBackend(store);
    backend.version(VERSION);
    MongoServer server = new MongoServer(backend);
    server.bind(args[0], Integer.parseInt(args[1]));
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
  }
}
