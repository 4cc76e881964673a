-- q12, windows of a user: how often a user bids in every ten seconds. By event time, where the original takes the time of arrival,
-- which no second computation can repeat.
SELECT bidder, COUNT(*) AS bid_count, window_start AS start_time, window_end AS end_time
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end
