-- What a script writes after this call stays in memory: it goes neither to the append-only file nor to replicas, so Redis
-- answers without waiting for the disk. A crash or a failover forgets it, or keeps it if the file was rewritten meanwhile. So
-- later writes of the same field write it whole, and none depends on it.
local function keep_in_memory() redis.set_repl(redis.REPL_NONE) end
