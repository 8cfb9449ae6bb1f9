-- Damaged records: of another type than the table in store.py says, or with text where a number belongs. One is moved aside
-- when a command meets it, for a person to look at; what others tell about it is rebuilt; then the command runs.
local LIVE = {open = true, sealed = true, rewarded = true, claimed = true}
local ENDED = {trained = true, discarded = true}

-- The reply, or nothing if Redis refuses the command because of what the key holds.
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then return nil end
  return reply
end

-- What nothing else tells is kept twice.
local function keep_copy(name)
  redis.call('COPY', key(name), key('copy.' .. name), 'REPLACE')
end

-- A command on one key. What Redis refuses for its own state, as on a full disk, is an error that ends the script.
call = function(command, name, ...)
  local reply = redis.pcall(command, name, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  local damages = {'^WRONGTYPE', 'not an integer', 'not a valid float', 'not a float', 'overflow', 'NaN or Inf'}
  for _, pattern in ipairs(damages) do
    if reply.err:find(pattern) then
      mend(name, reply.err)
      return redis.call(command, name, ...)
    end
  end
  error(reply.err, 0)
end
