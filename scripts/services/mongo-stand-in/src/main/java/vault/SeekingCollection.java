package vault;

import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.h2.H2Collection;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.Objects;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.h2.mvstore.MVMap;

/**
 * A collection that seeks by {@code _id} wherever a MongoDB does. The library does so only for a filter that names
 * nothing else, and looks at every document for {@code {_id: …, token: …}} and for ranges.
 */
final class SeekingCollection extends H2Collection {
  private final MVMap<Object, Document> documents;

  SeekingCollection(
      MongoDatabase database,
      String name,
      CollectionOptions options,
      MVMap<Object, Document> documents,
      MVMap<String, Object> facts,
      CursorRegistry cursors) {
    super(database, name, options, documents, facts, cursors);
    this.documents = documents;
  }

  @Override
  protected QueryResult matchDocuments(
      Document query, Document orderBy, int skip, int limit, int batchSize, Document fields) {
    Stream<Document> found = "_id".equals(getIdField()) ? seek(query.get("_id")) : null;
    return found == null
        ? super.matchDocuments(query, orderBy, skip, limit, batchSize, fields)
        : matchDocumentsFromStream(found, query, orderBy, skip, limit, batchSize, fields);
  }

  /** What may match, in the order of {@code _id}; null if that could be anything. */
  private Stream<Document> seek(Object id) {
    if (id instanceof String) {
      return Stream.of(id).map(documents::get).filter(Objects::nonNull);
    }
    if (!(id instanceof Document condition)) {
      return null;
    }
    if (condition.get("$in") instanceof Collection<?> ids
        && ids.stream().allMatch(String.class::isInstance)) {
      return new TreeSet<Object>(ids).stream().map(documents::get).filter(Objects::nonNull);
    }
    Object from = condition.getOrDefault("$gte", condition.get("$gt"));
    Object to = condition.getOrDefault("$lt", condition.get("$lte"));
    if (!(from instanceof String) || !(to == null || to instanceof String)) {
      return null;
    }
    List<Document> within = new ArrayList<>();
    Iterator<Object> keys = documents.keyIterator(from);
    while (keys.hasNext()
        && keys.next() instanceof String key
        && (to == null || key.compareTo((String) to) <= 0)) {
      within.add(documents.get(key));
    }
    return within.stream();
  }
}
