// The JDBC driver of PostgreSQL against a server, as tests/test_jdbc.py runs it: java DriverTest URL.
// Says what went wrong and ends with 1, or says "ok" and ends with 0.

import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;

public final class DriverTest {
    private interface Work {
        void run(Connection connection) throws Exception;
    }

    private static final String MANY = "generate_series(1, 1000000)";
    private static final String ENDLESS = "SELECT COUNT(*) FROM " + MANY + " AS a (x), " + MANY + " AS b (y) WHERE (x * y) % 7 = 3";
    private static final String COLUMNS = "k BIGINT PRIMARY KEY, b BOOLEAN, i INT, r REAL, d DOUBLE, n DECIMAL(38, 10), s VARCHAR, y BYTEA,"
            + " da DATE, ti TIME, ts TIMESTAMP, tz TIMESTAMP WITH TIME ZONE, longs BIGINT[], texts VARCHAR[]";
    private static final int[] KINDS = {
        Types.BIGINT, Types.BIT, Types.INTEGER, Types.REAL, Types.DOUBLE, Types.NUMERIC, Types.VARCHAR, Types.BINARY,
        Types.DATE, Types.TIME, Types.TIMESTAMP, Types.TIMESTAMP, Types.ARRAY, Types.ARRAY};

    public static void main(String[] arguments) throws Exception {
        int failures = 0;
        failures += check(arguments[0], "statements", DriverTest::statements);
        failures += check(arguments[0], "values as text and first executions", connection -> values(connection, "texts_", true));
        failures += check(arguments[0] + "?prepareThreshold=-1", "values in binary", connection -> values(connection, "binary_", true));
        failures += check(arguments[0] + "?preferQueryMode=simple", "values in simple queries", connection -> values(connection, "simple_", false));
        failures += check(arguments[0], "metadata", DriverTest::metadata);
        failures += check(arguments[0], "transactions", DriverTest::transactions);
        failures += check(arguments[0], "portions", DriverTest::portions);
        failures += check(arguments[0], "cancellation", DriverTest::cancellation);
        failures += check(arguments[0], "errors", DriverTest::errors);
        failures += check(arguments[0], "copies", DriverTest::copies);
        if (failures > 0) {
            System.exit(1);
        }
        System.out.println("ok");
    }

    private static int check(String url, String name, Work work) {
        try (Connection connection = DriverManager.getConnection(url, "tester", "")) {
            work.run(connection);
            return 0;
        } catch (Throwable failure) {
            System.err.println("FAILED: " + name);
            failure.printStackTrace();
            return 1;
        }
    }

    private static void same(Object found, Object wanted) {
        if (!Objects.deepEquals(found, wanted)) {
            String text = found instanceof Object[] ? Arrays.deepToString((Object[]) found) : String.valueOf(found);
            String other = wanted instanceof Object[] ? Arrays.deepToString((Object[]) wanted) : String.valueOf(wanted);
            throw new AssertionError("found " + text + ", wanted " + other);
        }
    }

    private static SQLException fails(String sqlState, Work work, Connection connection) throws Exception {
        try {
            work.run(connection);
        } catch (SQLException error) {
            same(error.getSQLState() + " " + error.getMessage(), sqlState + " " + error.getMessage());
            return error;
        }
        throw new AssertionError("nothing failed with " + sqlState);
    }

    private static void fresh(Connection connection, String table, String columns) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("DROP TABLE IF EXISTS " + table + " CASCADE");
            statement.execute("CREATE TABLE " + table + " (" + columns + ")");
        }
    }

    private static List<List<Object>> rows(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet result = statement.executeQuery(sql)) {
            return rows(result);
        }
    }

    private static List<List<Object>> rows(ResultSet result) throws SQLException {
        List<List<Object>> rows = new ArrayList<>();
        while (result.next()) {
            List<Object> row = new ArrayList<>();
            for (int column = 1; column <= result.getMetaData().getColumnCount(); column++) {
                row.add(result.getObject(column));
            }
            rows.add(row);
        }
        return rows;
    }

    private static void statements(Connection connection) throws Exception {
        fresh(connection, "j_rows", "k BIGINT PRIMARY KEY, s VARCHAR");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO j_rows VALUES (?, ?)")) {
            for (long k = 0; k < 100; k++) {
                insert.setLong(1, k);
                insert.setString(2, "s" + k);
                insert.addBatch();
            }
            int[] counts = insert.executeBatch();
            same(Arrays.stream(counts).sum(), 100);
        }
        try (Statement batch = connection.createStatement()) {
            batch.addBatch("UPDATE j_rows SET s = 'new' WHERE k < 3");
            batch.addBatch("DELETE FROM j_rows WHERE k >= 5");
            same(batch.executeBatch(), new int[] {3, 95});
            same(batch.execute("CREATE MATERIALIZED VIEW j_count AS SELECT s, count(*) AS n FROM j_rows GROUP BY s"), false);
        }
        try (PreparedStatement select = connection.prepareStatement("SELECT n FROM j_count WHERE s = ?")) {
            // From its fifth execution on it is prepared by name.
            for (int time = 0; time < 8; time++) {
                select.setString(1, "new");
                same(rows(select.executeQuery()), List.of(List.of(3L)));
            }
        }
    }

    private static Object[] full() {
        return new Object[] {
            1L, true, -5, 1.5f, 2.25, new BigDecimal("12345678901234567890.0123456789"), "it's é, \\ \"x\"", new byte[] {0, -1},
            LocalDate.of(1999, 12, 31), LocalTime.of(1, 2, 3, 4000), LocalDateTime.of(2024, 2, 29, 1, 2, 3, 456000),
            OffsetDateTime.of(1969, 7, 20, 20, 17, 0, 0, ZoneOffset.UTC),
            new Long[] {1L, null, -(1L << 62)}, new String[] {"a", null, "", "b \"c\", \\"}};
    }

    private static void values(Connection connection, String prefix, boolean arrays) throws Exception {
        String table = "j_" + prefix + "kinds";
        fresh(connection, table, COLUMNS);
        Object[] full = full();
        String marks = "?" + ", ?".repeat(full.length - 1);
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + table + " VALUES (" + marks + ")")) {
            for (int place = 0; place < 12; place++) {
                insert.setObject(place + 1, full[place]);
            }
            // In simple queries the driver writes arrays as texts that are cast, which the SQL here does not do.
            if (arrays) {
                insert.setArray(13, connection.createArrayOf("bigint", (Object[]) full[12]));
                insert.setArray(14, connection.createArrayOf("text", (Object[]) full[13]));
            } else {
                insert.setNull(13, Types.ARRAY);
                insert.setNull(14, Types.ARRAY);
            }
            same(insert.executeUpdate(), 1);
            insert.setLong(1, 2);
            for (int place = 1; place < full.length; place++) {
                insert.setNull(place + 1, KINDS[place]);
            }
            same(insert.executeUpdate(), 1);
        }
        try (PreparedStatement select = connection.prepareStatement("SELECT * FROM " + table + " WHERE k = ?")) {
            for (int time = 0; time < 7; time++) {
                select.setLong(1, 1);
                try (ResultSet result = select.executeQuery()) {
                    same(result.next(), true);
                    first(result, full);
                    same(elements(result, "longs"), arrays ? full[12] : null);
                    same(elements(result, "texts"), arrays ? full[13] : null);
                }
                select.setLong(1, 2);
                try (ResultSet result = select.executeQuery()) {
                    same(result.next(), true);
                    for (int column = 2; column <= full.length; column++) {
                        same(result.getObject(column), null);
                        same(result.wasNull(), true);
                    }
                }
            }
        }
        if (!arrays) {
            return;
        }
        try (PreparedStatement select = connection.prepareStatement("SELECT k FROM " + table + " WHERE k = ANY(?) AND s = ? AND ts < ?")) {
            select.setArray(1, connection.createArrayOf("bigint", new Long[] {1L, 7L}));
            select.setString(2, (String) full[6]);
            select.setObject(3, LocalDateTime.of(2030, 1, 1, 0, 0));
            same(rows(select.executeQuery()), List.of(List.of(1L)));
        }
    }

    private static Object elements(ResultSet result, String column) throws SQLException {
        Array array = result.getArray(column);
        return array == null ? null : array.getArray();
    }

    private static void first(ResultSet result, Object[] full) throws SQLException {
        same(result.getLong("k"), 1L);
        same(result.getBoolean("b"), true);
        same(result.getInt("i"), -5);
        same(result.getFloat("r"), 1.5f);
        same(result.getDouble("d"), 2.25);
        same(result.getBigDecimal("n"), full[5]);
        same(result.getString("s"), full[6]);
        same(result.getBytes("y"), full[7]);
        same(result.getObject("da", LocalDate.class), full[8]);
        same(result.getObject("ti", LocalTime.class), full[9]);
        same(result.getObject("ts", LocalDateTime.class), full[10]);
        same(result.getObject("tz", OffsetDateTime.class), full[11]);
    }

    private static void metadata(Connection connection) throws Exception {
        fresh(connection, "j_found", COLUMNS);
        fresh(connection, "j_pairs", "v VARCHAR, b BIGINT NOT NULL, a VARCHAR NOT NULL, PRIMARY KEY (a, b)");
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE VIEW j_view AS SELECT k, s FROM j_found");
            statement.execute("CREATE MATERIALIZED VIEW j_sums AS SELECT s, count(*) AS n FROM j_found GROUP BY s");
            try (ResultSet result = statement.executeQuery("SELECT k, n, s AS name FROM j_found")) {
                ResultSetMetaData columns = result.getMetaData();
                same(columns.getColumnCount(), 3);
                same(columns.getColumnLabel(3), "name");
                same(columns.getColumnType(1), Types.BIGINT);
                same(List.of(columns.getPrecision(2), columns.getScale(2)), List.of(38, 10));
                same(columns.getColumnTypeName(2), "numeric");
                same(columns.getColumnClassName(2), "java.math.BigDecimal");
            }
        }
        DatabaseMetaData database = connection.getMetaData();
        same(database.getDatabaseProductName(), "PostgreSQL");
        same(named(database.getTables(null, "public", "j_%", new String[] {"TABLE"}), "TABLE_NAME").contains("j_found"), true);
        same(named(database.getTables(null, null, "j_view", null), "TABLE_TYPE"), List.of("VIEW"));
        same(named(database.getTables(null, null, "j_sums", null), "TABLE_TYPE"), List.of("MATERIALIZED VIEW"));
        same(named(database.getSchemas(), "TABLE_SCHEM").contains("public"), true);
        same(named(database.getCatalogs(), "TABLE_CAT").contains("frazil"), true);
        same(named(database.getColumns(null, null, "j_pairs", null), "COLUMN_NAME"), List.of("v", "b", "a"));
        same(named(database.getColumns(null, null, "j_pairs", null), "IS_NULLABLE"), List.of("YES", "NO", "NO"));
        same(named(database.getColumns(null, "public", "j_found", "n"), "COLUMN_SIZE"), List.of("38"));
        same(named(database.getColumns(null, "public", "j_found", "n"), "DECIMAL_DIGITS"), List.of("10"));
        List<String> types = named(database.getColumns(null, "public", "j_found", "%"), "TYPE_NAME");
        same(types, List.of("int8", "bool", "int4", "float4", "float8", "numeric", "text", "bytea", "date", "time", "timestamp",
                "timestamptz", "_int8", "_text"));
        try (ResultSet keys = database.getPrimaryKeys(null, "public", "j_pairs")) {
            List<String> found = new ArrayList<>();
            while (keys.next()) {
                found.add(keys.getString("COLUMN_NAME") + keys.getInt("KEY_SEQ") + keys.getString("PK_NAME"));
            }
            same(found, List.of("a1j_pairs_pkey", "b2j_pairs_pkey"));
        }
        same(named(database.getPrimaryKeys(null, null, "j_found"), "COLUMN_NAME"), List.of("k"));
        same(named(database.getIndexInfo(null, null, "j_found", false, false), "COLUMN_NAME"), List.of("k"));
        same(named(database.getTypeInfo(), "TYPE_NAME").contains("int8"), true);
        same(connection.isValid(5), true);
        same(connection.getSchema(), "public");
        same(connection.getCatalog(), "frazil");
    }

    private static List<String> named(ResultSet result, String column) throws SQLException {
        try (result) {
            List<String> found = new ArrayList<>();
            while (result.next()) {
                found.add(result.getString(column));
            }
            return found;
        }
    }

    private static void transactions(Connection connection) throws Exception {
        fresh(connection, "j_work", "k BIGINT PRIMARY KEY");
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("INSERT INTO j_work VALUES (1)");
            Savepoint here = connection.setSavepoint("here");
            statement.executeUpdate("INSERT INTO j_work VALUES (2)");
            fails("42P01", c -> c.createStatement().executeQuery("SELECT * FROM nowhere"), connection);
            fails("25P02", c -> c.createStatement().executeQuery("SELECT 1"), connection);
            connection.rollback(here);
            Savepoint unnamed = connection.setSavepoint();
            statement.executeUpdate("INSERT INTO j_work VALUES (3)");
            connection.releaseSavepoint(unnamed);
            connection.commit();
            same(rows(connection, "SELECT k FROM j_work ORDER BY k"), List.of(List.of(1L), List.of(3L)));
            statement.executeUpdate("DELETE FROM j_work");
            connection.rollback();
            same(rows(connection, "SELECT count(*) FROM j_work"), List.of(List.of(2L)));
            connection.rollback();
            connection.setReadOnly(true);
            fails("25006", c -> c.createStatement().executeUpdate("DELETE FROM j_work"), connection);
            connection.rollback();
            connection.setReadOnly(false);
        }
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        same(connection.getTransactionIsolation(), Connection.TRANSACTION_SERIALIZABLE);
        connection.rollback();
    }

    private static void portions(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        try (PreparedStatement statement = connection.prepareStatement("SELECT value FROM generate_series(1, CAST(? AS BIGINT)) ORDER BY value")) {
            statement.setFetchSize(100);
            statement.setLong(1, 1050);
            long sum = 0;
            try (ResultSet result = statement.executeQuery()) {
                while (result.next()) {
                    sum += result.getLong(1);
                }
            }
            same(sum, 1050L * 1051 / 2);
            statement.setMaxRows(10);
            same(rows(statement.executeQuery()).size(), 10);
        }
        connection.commit();
    }

    private static void cancellation(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            Thread canceller = new Thread(() -> {
                try {
                    Thread.sleep(500);
                    statement.cancel();
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            canceller.start();
            fails("57014", c -> statement.executeQuery(ENDLESS), connection);
            canceller.join();
            statement.setQueryTimeout(1);
            fails("57014", c -> statement.executeQuery(ENDLESS), connection);
            statement.setQueryTimeout(0);
            same(rows(statement.executeQuery("SELECT 1::BIGINT")), List.of(List.of(1L)));
        }
    }

    private static void errors(Connection connection) throws Exception {
        SQLException missing = fails("42P01", c -> c.createStatement().executeQuery("SELECT * FROM nowhere"), connection);
        same(((PSQLException) missing).getServerErrorMessage().getPosition(), 15);
        same(((PSQLException) missing).getServerErrorMessage().getHint(), "SHOW TABLES lists what there is");
        fails("42601", c -> c.createStatement().execute("SELEC 1"), connection);
        fails("22012", c -> c.createStatement().executeQuery("SELECT 1 / 0"), connection);
        fails("42P01", c -> c.prepareStatement("SELECT * FROM nowhere WHERE k = ?").getParameterMetaData(), connection);
    }

    private static void copies(Connection connection) throws Exception {
        fresh(connection, "j_copied", "k BIGINT PRIMARY KEY, s VARCHAR");
        CopyManager copies = connection.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder text = new StringBuilder();
        for (int k = 0; k < 1000; k++) {
            text.append(k).append(k % 2 == 0 ? "\trow " + k : "\t\\N").append('\n');
        }
        same(copies.copyIn("COPY j_copied FROM STDIN", new StringReader(text.toString())), 1000L);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        same(copies.copyOut("COPY (SELECT * FROM j_copied WHERE k < 3 ORDER BY k) TO STDOUT (FORMAT csv)", out), 3L);
        same(out.toString(StandardCharsets.UTF_8), "0,row 0\n1,\n2,row 2\n");
        fails("22P02", c -> copies.copyIn("COPY j_copied FROM STDIN", new StringReader("zero\tx\n")), connection);
        same(rows(connection, "SELECT count(*) FROM j_copied"), List.of(List.of(1000L)));
    }
}
