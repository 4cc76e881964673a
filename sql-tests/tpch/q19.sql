-- q19, discounted revenue: alternatives that share an equality.
SELECT SUM(l_extendedprice * (1 - l_discount)) AS revenue
FROM lineitem, part
WHERE (
    p_partkey = l_partkey
    AND p_brand = 'Brand#12'
    AND p_container IN ('SM CASE', 'SM BOX', 'SM PACK', 'SM PKG', 'LG CAN', 'JUMBO CASE')
    AND l_quantity >= 1 AND l_quantity <= 30
    AND p_size BETWEEN 1 AND 45
    AND l_shipmode IN ('AIR', 'AIR REG', 'RAIL')
  ) OR (
    p_partkey = l_partkey
    AND p_brand = 'Brand#23'
    AND p_container IN ('MED BAG', 'MED BOX', 'MED PKG', 'MED PACK', 'WRAP CASE')
    AND l_quantity >= 10 AND l_quantity <= 40
    AND p_size BETWEEN 1 AND 50
    AND l_shipmode IN ('AIR', 'AIR REG', 'TRUCK')
  ) OR (
    p_partkey = l_partkey
    AND p_brand = 'Brand#34'
    AND p_container IN ('LG CASE', 'LG BOX', 'LG PACK', 'LG PKG', 'SM DRUM')
    AND l_quantity >= 10 AND l_quantity <= 50
    AND p_size BETWEEN 1 AND 50
    AND l_shipmode IN ('AIR', 'AIR REG', 'MAIL')
  )
