-- q4, average price for a category: a join with a condition on time, the highest valid bid of every auction, the mean of those.
SELECT category, AVG(final) AS mean_price
FROM (
  SELECT a.id, a.category, MAX(b.price) AS final
  FROM auction a
  JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
  GROUP BY a.id, a.category
)
GROUP BY category
