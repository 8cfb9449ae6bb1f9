-- The groups that a trainer trained: those that it may not mark, and marking them.

-- Those among args[first] to args[last] that are neither held nor trained into this version already.
local function lost_groups(owner, version, first, last)
  local lost = {}
  for index = first, last do
    local group = args[index]
    local is_done = call('ZSCORE', key('trained'), group) == version
    if not is_done and not holds(owner, group) then lost[#lost + 1] = group end
  end
  return lost
end

-- What follows args[last]: episode, advantages, delivered tokens, why it was left out or '', ...
local function train_groups(owner, version, first, last)
  local credits = {}
  for index = last + 1, #args, 4 do
    credits[args[index]] = {args[index + 1], args[index + 2], args[index + 3]}
  end
  for index = first, last do
    local group = args[index]
    if holds(owner, group) then
      for _, id in ipairs(members(group, 'claimed')) do
        local credit = credits[id]
        if credit and credit[3] ~= '' then discard(id, credit[3]) else train(id, version, credit) end
      end
      finish(group, 'trained')
      call('ZADD', key('trained'), version, group)
    end
  end
end
