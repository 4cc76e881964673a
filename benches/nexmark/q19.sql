-- q19, top ten: the highest bids of every auction, the earlier before the later.
SELECT *
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC, date_time, bidder, extra) AS place
  FROM bid
)
WHERE place <= 10
