-- A commit is life, and moves an open episode's deadlines in idle and quiet. It writes only when it was (`committed`): the deadline
-- is read from that when the one that is written is due.
local MOVED = {idle = idle_ms, quiet = silence_ms}

-- Writes the deadline of an open episode as its last commit moved it. Returns whether that is later than it was.
local function keep_deadline(index, id)
  local status, committed = unpack(call('HMGET', episode_key(id), 'status', 'committed'))
  committed = number(committed)
  if status ~= 'open' or committed == 0 or committed > now + idle_ms then return false end
  return call('ZADD', key(index), 'XX', 'GT', 'CH', committed + MOVED[index], id) == 1
end
