-- Changes after all rows have come.
UPDATE orders SET o_orderdate = o_orderdate + INTERVAL '40' DAY WHERE o_orderkey % 5 = 1;
DELETE FROM lineitem WHERE (l_orderkey + l_linenumber) % 7 = 3;
UPDATE lineitem SET l_quantity = l_quantity + 3, l_discount = 0.06 WHERE l_partkey % 4 = 2;
DELETE FROM orders WHERE o_custkey % 6 = 1;
UPDATE customer SET c_mktsegment = 'BUILDING', c_acctbal = c_acctbal - 500 WHERE c_custkey % 3 = 2;
DELETE FROM partsupp WHERE ps_partkey % 9 = 4;
UPDATE supplier SET s_nationkey = (s_nationkey + 5) % 25 WHERE s_suppkey % 2 = 1;
