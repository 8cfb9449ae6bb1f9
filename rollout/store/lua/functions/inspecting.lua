-- Reads for an audit: a key of the wrong type is named in `unreadable` and reads as empty.
local function reader(unreadable)
  return function(command, name, ...)
    local reply = redis.pcall(command, key(name), ...)
    if type(reply) == 'table' and reply.err then
      unreadable[#unreadable + 1] = name
      return {}
    end
    return reply
  end
end

-- The scores of an id in sorted sets, as name, score, ...
local function scores(read, id, names)
  local found = {}
  for _, name in ipairs(names) do
    local score = read('ZSCORE', name, id)
    if type(score) == 'string' then
      found[#found + 1] = name
      found[#found + 1] = score
    end
  end
  return found
end
