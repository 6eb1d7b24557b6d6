// Kafka Streams as a peer of the measurements (bench/peers/README.md has the options).
//
// Choices, all as Kafka's documentation has them: the Processor API with two persistent stores, cached and with their
// changelogs (`snapshots`, and `confirmed` for what the target has stored); java.net.http.HttpClient, asynchronous; a
// window that finds all calls in flight waits for one to end, which holds the join back too; a punctuation sends what is
// left. The commit interval is 1 s instead of 30, as every peer's; one stream thread, the default. At the start users
// whose version is not the confirmed one are found by a scan.
//
// A value in `snapshots` is the version (the offset of the last record that changed the user, 8 bytes) and the snapshot as JSON.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Semaphore;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import sun.misc.Signal;

public final class Peer {
    static final ObjectMapper JSON = new ObjectMapper();
    /** For the digest alone. */
    static final ObjectMapper SORTED = JsonMapper.builder().enable(JsonNodeFeature.WRITE_PROPERTIES_SORTED).build();
    static final Duration STOP_WITHIN = Duration.ofSeconds(8);
    /** Kafka Streams' default; what is not a full window leaves with this. */
    static final Duration PUNCTUATION = Duration.ofMillis(100);

    private Peer() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = options(arguments);
        Path state = Files.createDirectories(Path.of(options.get("state")));
        // RocksDB unpacks its library there: nothing is left behind elsewhere, not by a SIGKILL either.
        System.setProperty("java.io.tmpdir", state.toString());
        boolean deliver = options.get("mode").equals("deliver");
        int window = Integer.parseInt(options.get("window"));
        Calls calls = deliver ? new Calls(options.get("target"), Integer.parseInt(options.get("concurrency"))) : null;
        KafkaStreams streams = new KafkaStreams(topology(options.get("topic"), calls, window), properties(options, state));
        CompletableFuture<Integer> end = new CompletableFuture<>();
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            end.complete(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        for (String name : List.of("TERM", "INT")) {
            Signal.handle(new Signal(name), signal -> end.complete(0));
        }
        Signal.handle(new Signal("USR1"), signal -> writeJoined(streams, state));
        streams.start();
        int code = end.get();
        streams.close(STOP_WITHIN);
        System.exit(code);
    }

    static Map<String, String> options(String[] arguments) {
        Map<String, String> found = new HashMap<>(Map.of(
                "topic", "legacy.identity", "mode", "deliver", "concurrency", "8", "window", "50"));
        Set<String> known = Set.of("bootstrap", "topic", "group", "state", "target", "mode", "concurrency", "window");
        for (int i = 0; i < arguments.length; i += 2) {
            String name = arguments[i].replaceFirst("^--", "");
            if (!known.contains(name) || i + 1 == arguments.length) {
                unusable("unusable option " + arguments[i] + "; there are, each with a value: " + String.join(" ", known));
            }
            found.put(name, arguments[i + 1]);
        }
        if (!found.keySet().containsAll(known) || !Set.of("join", "deliver").contains(found.get("mode"))) {
            unusable("--bootstrap, --group, --state and --target are needed, and --mode is join or deliver");
        }
        return found;
    }

    static void unusable(String why) {
        System.err.println(why);
        System.exit(2);
    }

    static Properties properties(Map<String, String> options, Path state) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("group"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("bootstrap"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        return properties;
    }

    static Topology topology(String topic, Calls calls, int window) {
        Topology topology = new Topology();
        topology.addSource("rows", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), topic);
        topology.addProcessor("join", () -> new Join(calls, window), "rows");
        topology.addStateStore(store("snapshots"), "join");
        if (calls != null) {
            topology.addStateStore(store("confirmed"), "join");
        }
        return topology;
    }

    static StoreBuilder<KeyValueStore<String, byte[]>> store(String name) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.String(), Serdes.ByteArray())
                .withCachingEnabled();
    }

    /** Writes joined.json; it appears by a rename. */
    static void writeJoined(KafkaStreams streams, Path state) {
        try {
            TreeMap<String, byte[]> lines = new TreeMap<>();
            var all = streams.store(StoreQueryParameters.fromNameAndType(
                    "snapshots", QueryableStoreTypes.<String, byte[]>keyValueStore()));
            try (KeyValueIterator<String, byte[]> values = all.all()) {
                while (values.hasNext()) {
                    var entry = values.next();
                    ObjectNode snapshot = Snapshot.of(entry.value);
                    if (!snapshot.get("user").isNull()) {
                        lines.put(entry.key, SORTED.writeValueAsBytes(snapshot));
                    }
                }
            }
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            lines.forEach((user, json) -> {
                digest.update((user + "\t").getBytes(StandardCharsets.UTF_8));
                digest.update(json);
                digest.update((byte) '\n');
            });
            Map<String, Object> joined = Map.of("users", lines.size(), "digest", HexFormat.of().formatHex(digest.digest()));
            Path part = Files.write(state.resolve("joined.part"), JSON.writeValueAsBytes(joined));
            Files.move(part, state.resolve("joined.json"), StandardCopyOption.ATOMIC_MOVE);
        } catch (Exception error) {
            error.printStackTrace();
        }
    }

    /** The value of the store `snapshots`: rows merged as bench/peers/entity.py does it. */
    static final class Snapshot {
        static ObjectNode empty() {
            ObjectNode snapshot = JSON.createObjectNode();
            snapshot.putNull("user");
            snapshot.putObject("credentials");
            return snapshot;
        }

        static ObjectNode of(byte[] value) throws IOException {
            return (ObjectNode) JSON.readTree(value, Long.BYTES, value.length - Long.BYTES);
        }

        static byte[] encode(long version, ObjectNode snapshot) throws IOException {
            byte[] json = JSON.writeValueAsBytes(snapshot);
            return ByteBuffer.allocate(Long.BYTES + json.length).putLong(version).put(json).array();
        }

        static long version(byte[] value) {
            return ByteBuffer.wrap(value).getLong();
        }

        /** Puts the row of one record into the snapshot; false if that changes nothing. */
        static boolean merge(ObjectNode snapshot, ObjectNode record) {
            boolean gone = record.get("__op").asText().equals("d");
            boolean ofUser = record.get("__source_table").asText().equals("users");
            for (Iterator<String> names = record.fieldNames(); names.hasNext(); ) {
                if (names.next().startsWith("__")) {
                    names.remove();
                }
            }
            if (ofUser) {
                JsonNode before = snapshot.get("user");
                if (gone ? before.isNull() : before.equals(record)) {
                    return false;
                }
                if (gone) {
                    snapshot.putNull("user");
                    snapshot.putObject("credentials");
                } else {
                    snapshot.set("user", record);
                }
                return true;
            }
            ObjectNode credentials = (ObjectNode) snapshot.get("credentials");
            String key = record.get("id").asText();
            if (gone) {
                return credentials.remove(key) != null;
            }
            return !record.equals(credentials.replace(key, record));
        }
    }

    /** What the bulk call carries of a user: as bench/peers/entity.py has it. */
    static final class Entity {
        static final UUID NAMESPACE = UUID.fromString("7cf6a98b-9ea7-4ea9-a363-c4461cc5abcc");
        static final Pattern PHONE = Pattern.compile("\\+[1-9][0-9]{6,14}");
        static final Map<String, String> STATUS = Map.of("active", "VERIFIED", "pending", "PENDING", "locked", "LOCKED");
        static final List<String> TEXTS = List.of("email", "username", "given_name", "family_name", "gender", "locale");

        /** Null if there is nobody to send: no row, or deleted. */
        static ObjectNode of(String userId, ObjectNode snapshot) throws Exception {
            JsonNode user = snapshot.get("user");
            if (user.isNull() || user.get("status").asText().equals("deleted")) {
                return null;
            }
            ObjectNode entity = JSON.createObjectNode();
            entity.put("sub", sub(userId)).put("provider", "self");
            entity.put("userStatus", STATUS.getOrDefault(user.get("status").asText(), "LOCKED"));
            for (String name : TEXTS) {
                entity.put(name, text(user, name));
            }
            String phone = text(user, "phone");
            entity.put("mobile_number", phone != null && PHONE.matcher(phone).matches() ? phone : null);
            String birthdate = user.get("birthdate").textValue();
            entity.put("birthdate", birthdate == null ? null : birthdate.substring(0, 10));
            entity.set("createdTime", user.get("created_at"));
            entity.set("lastLoggedInTime", user.get("last_login_at"));
            entity.putObject("address")
                    .put("street_address", text(user, "street_address"))
                    .put("postal_code", text(user, "postal_code"))
                    .put("locality", text(user, "city"))
                    .put("country", text(user, "country"));
            ObjectNode custom = entity.putObject("customFields");
            custom.put("legacy_user_id", user.get("id").asText()).put("customer_number", text(user, "customer_number"));
            custom.set("newsletter", user.get("newsletter"));
            entity.set("password_hash_info", password(snapshot.get("credentials")));
            return entity;
        }

        /** The user's id at cidaas: UUIDv5, which Java has not. */
        static String sub(String userId) throws Exception {
            MessageDigest sha1 = MessageDigest.getInstance("SHA-1");
            sha1.update(ByteBuffer.allocate(16)
                    .putLong(NAMESPACE.getMostSignificantBits())
                    .putLong(NAMESPACE.getLeastSignificantBits())
                    .array());
            ByteBuffer hash = ByteBuffer.wrap(sha1.digest(userId.getBytes(StandardCharsets.UTF_8)));
            long most = hash.getLong() & ~0xF000L | 0x5000L;
            long least = hash.getLong() & ~(0xC0L << 56) | 0x80L << 56;
            return new UUID(most, least).toString();
        }

        static String text(JsonNode row, String name) {
            String value = row.get(name).textValue();
            return value == null || value.isBlank() ? null : value.strip();
        }

        static JsonNode password(JsonNode credentials) {
            JsonNode newest = null;
            for (JsonNode row : credentials) {
                if (row.get("kind").asText().equals("password") && (newest == null || age(row, newest) > 0)) {
                    newest = row;
                }
            }
            String secret = newest == null ? "" : newest.get("secret").asText();
            if (!secret.startsWith("$2")) {
                return JSON.nullNode();
            }
            String algorithm = "BCRYPT_" + Integer.parseInt(secret.substring(4, 6));
            return JSON.createObjectNode().put("algorithmTypeId", algorithm).put("passwordHash", secret);
        }

        static int age(JsonNode row, JsonNode other) {
            int compared = changed(row).compareTo(changed(other));
            return compared != 0 ? compared : Long.compare(row.get("id").asLong(), other.get("id").asLong());
        }

        static String changed(JsonNode row) {
            return (row.get("updated_at").isNull() ? row.get("created_at") : row.get("updated_at")).asText();
        }
    }

    /** Users under way: versions by user, and the subs that the target stored (none if the call failed). */
    record Call(Map<String, Long> versions, Map<String, String> subs, CompletableFuture<Set<String>> stored) {}

    /** Calls to the target; never more at a time than `concurrency`, over all partitions. */
    static final class Calls {
        static final Duration TIMEOUT = Duration.ofSeconds(10);
        final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        final Semaphore free;
        final String target;
        final String token;

        Calls(String target, int concurrency) throws Exception {
            this.target = target;
            this.free = new Semaphore(concurrency);
            Map<String, String> form = Map.of(
                    "grant_type", "client_credentials",
                    "client_id", System.getenv().getOrDefault("CIDAAS_CLIENT_ID", "bench"),
                    "client_secret", System.getenv().getOrDefault("CIDAAS_CLIENT_SECRET", "bench"),
                    "scope", "cidaas:bulk_user_create");
            List<String> pairs = new ArrayList<>();
            form.forEach((name, value) -> pairs.add(name + "=" + URLEncoder.encode(value, StandardCharsets.UTF_8)));
            HttpRequest request = HttpRequest.newBuilder(URI.create(target + "/token-srv/token"))
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .timeout(TIMEOUT)
                    .POST(BodyPublishers.ofString(String.join("&", pairs)))
                    .build();
            HttpResponse<byte[]> answer = client.send(request, BodyHandlers.ofByteArray());
            if (answer.statusCode() != 200) {
                throw new IOException("the token endpoint answered " + answer.statusCode());
            }
            this.token = JSON.readTree(answer.body()).get("access_token").asText();
        }

        /** Sends one window; the caller holds a permit of `free`, which is given back when the call has ended. */
        CompletableFuture<Set<String>> bulk(ArrayNode entities) throws IOException {
            HttpRequest request = HttpRequest.newBuilder(URI.create(target + "/users-srv/user/bulk"))
                    .header("Content-Type", "application/json")
                    .header("Authorization", "Bearer " + token)
                    .timeout(TIMEOUT)
                    .POST(BodyPublishers.ofByteArray(JSON.writeValueAsBytes(entities)))
                    .build();
            return client.sendAsync(request, BodyHandlers.ofByteArray())
                    .whenComplete((answer, error) -> free.release())
                    .handle((answer, error) -> error == null && answer.statusCode() == 200 ? stored(answer.body()) : Set.of());
        }

        static Set<String> stored(byte[] body) {
            Set<String> subs = new HashSet<>();
            try {
                for (JsonNode item : JSON.readTree(body).get("process_states")) {
                    if (Set.of("CREATED", "UPDATED").contains(item.get("process_state").asText())) {
                        subs.add(item.get("sub").asText());
                    }
                }
            } catch (IOException error) {
                return Set.of();
            }
            return subs;
        }
    }

    /** Merges the rows of one partition, and sends who changed. */
    static final class Join implements Processor<String, byte[], Void, Void> {
        final Calls calls;
        final int window;
        final LinkedHashSet<String> pending = new LinkedHashSet<>();
        final Set<String> underWay = new HashSet<>();
        final ConcurrentLinkedQueue<Call> ended = new ConcurrentLinkedQueue<>();
        ProcessorContext<Void, Void> context;
        KeyValueStore<String, byte[]> snapshots;
        KeyValueStore<String, byte[]> confirmed;

        Join(Calls calls, int window) {
            this.calls = calls;
            this.window = window;
        }

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            this.context = context;
            snapshots = context.getStateStore("snapshots");
            if (calls == null) {
                return;
            }
            confirmed = context.getStateStore("confirmed");
            try (KeyValueIterator<String, byte[]> all = snapshots.all()) {
                while (all.hasNext()) {
                    var entry = all.next();
                    byte[] version = confirmed.get(entry.key);
                    if (version == null || Snapshot.version(version) != Snapshot.version(entry.value)) {
                        pending.add(entry.key);
                    }
                }
            }
            context.schedule(PUNCTUATION, PunctuationType.WALL_CLOCK_TIME, now -> {
                confirm();
                while (!pending.isEmpty() && calls.free.tryAcquire()) {
                    if (!send()) {
                        break;
                    }
                }
            });
        }

        @Override
        public void process(Record<String, byte[]> record) {
            try {
                ObjectNode row = (ObjectNode) JSON.readTree(record.value());
                if (row.has("__sync")) {
                    return;
                }
                byte[] stored = snapshots.get(record.key());
                ObjectNode snapshot = stored == null ? Snapshot.empty() : Snapshot.of(stored);
                if (!Snapshot.merge(snapshot, row)) {
                    return;
                }
                long version = context.recordMetadata().orElseThrow().offset();
                snapshots.put(record.key(), Snapshot.encode(version, snapshot));
                if (calls != null && !snapshot.get("user").isNull()) {
                    pending.add(record.key());
                    if (pending.size() >= window) {
                        calls.free.acquire();
                        confirm();
                        send();
                    }
                }
            } catch (IOException error) {
                throw new IllegalStateException("a record is not JSON", error);
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }

        /** Sends one window, for which a permit is held; false (and the permit given back) if there was nobody to send. */
        boolean send() {
            Map<String, Long> versions = new HashMap<>();
            Map<String, String> subs = new HashMap<>();
            ArrayNode entities = JSON.createArrayNode();
            try {
                for (Iterator<String> users = pending.iterator(); users.hasNext() && entities.size() < window; ) {
                    String user = users.next();
                    if (underWay.contains(user)) {
                        continue; // no older state may overtake a newer one
                    }
                    users.remove();
                    byte[] value = Objects.requireNonNull(snapshots.get(user));
                    ObjectNode entity = Entity.of(user, Snapshot.of(value));
                    if (entity != null) {
                        versions.put(user, Snapshot.version(value));
                        subs.put(user, entity.get("sub").asText());
                        entities.add(entity);
                    }
                }
                if (entities.isEmpty()) {
                    calls.free.release();
                    return false;
                }
                underWay.addAll(versions.keySet());
                CompletableFuture<Set<String>> stored = calls.bulk(entities);
                Call call = new Call(versions, subs, stored);
                stored.thenRun(() -> ended.add(call));
                return true;
            } catch (Exception error) {
                throw new IllegalStateException("a window could not be sent", error);
            }
        }

        /** Remembers what the target has stored; who is not goes again. */
        void confirm() {
            for (Call call = ended.poll(); call != null; call = ended.poll()) {
                Set<String> stored = call.stored().join();
                for (Map.Entry<String, Long> sent : call.versions().entrySet()) {
                    String user = sent.getKey();
                    underWay.remove(user);
                    if (stored.contains(call.subs().get(user))) {
                        confirmed.put(user, ByteBuffer.allocate(Long.BYTES).putLong(sent.getValue()).array());
                    } else {
                        pending.add(user);
                    }
                }
            }
        }
    }
}
