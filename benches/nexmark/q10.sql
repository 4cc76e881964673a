-- q10, log to a file system: bids with the day and minute by which files are parted. The query alone: where it goes is for the sink to say.
SELECT auction, bidder, price, date_time, extra, DATE_FORMAT(date_time, 'yyyy-MM-dd') AS dt, DATE_FORMAT(date_time, 'HH:mm') AS hm
FROM bid
