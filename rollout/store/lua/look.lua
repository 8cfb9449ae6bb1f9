-- look: whether this shard has an episode, and what its opening must know of every shard.
-- args: episode, key. Returns status or false, its key, the latest sequence of the outbox, open episodes of the key.
-- needs: keys, open_episodes
local id, owner = args[1], args[2]
local status, by = unpack(call('HMGET', episode_key(id), 'status', 'key'))
return {status, by, tostring(number(call('HGET', key('totals'), 'settlements'))), owner ~= '' and num_open(owner) or 0}
