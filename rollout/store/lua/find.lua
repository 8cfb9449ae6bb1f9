-- find: the episode that a call belongs to which names none. Only open episodes of the call's own API key are found.
-- args: the episode that it opens otherwise, key, label of its session or '', label of its cache key or '', 1 if it may be a
--       repeat, number of turns, the turns that it names, from the latest, then what was said in it, from the longest: the
--       digest with the instructions, and the one without.
-- Returns the episode and how it was found: turn, session, words, cache_key or new.
-- needs: keys, finding
local otherwise, owner, session, cache, is_repeat, num_turns = unpack(args, 1, 6)
local OPENING_MS = 30000  -- a call opens the episode that it got within this time

local function label_key(label) return key('found.label:' .. owner .. ':' .. label) end
local function words_key(digest) return key('found.words:' .. owner .. ':' .. digest) end

-- The episode of a label. One that does not exist is about to be opened by the call that took the label, or is forgotten.
local function labelled(label)
  local id = label ~= '' and call('GET', label_key(label))
  if id and (is_open(id, owner) or call('EXISTS', opening_key(id)) == 1) then return id end
end

local function by_turn()
  for index = 7, 6 + num_turns do
    local id = call('HGET', key('turns'), args[index])
    if id and is_open(id, owner) then return id end
  end
end

local function by_words()
  for index = 7 + num_turns, #args, 2 do
    for place = index, index + 1 do
      local id = said_in(words_key(args[place]), owner, is_repeat)
      if id then
        for each = index, index + 1 do call('ZADD', words_key(args[each]), 'XX', -now, id) end
        return id
      end
    end
  end
end

local function find()
  local id = by_turn()
  if id then return id, 'turn' end
  if session ~= '' then
    id = labelled(session)
    return id or otherwise, id and 'session' or 'new'
  end
  id = by_words()
  if id then return id, 'words' end
  id = labelled(cache)
  return id or otherwise, id and 'cache_key' or 'new'
end

num_turns = tonumber(num_turns)
local id, how = find()
if how == 'new' and session .. cache ~= '' and call('EXISTS', episode_key(id)) == 0 then
  call('SET', opening_key(id), '', 'PX', OPENING_MS)
end
for _, label in ipairs({session, cache}) do
  if label ~= '' and (how ~= 'turn' or not labelled(label)) then
    call('SET', label_key(label), id, 'PX', idle_ms)
  end
end
return {id, how}
