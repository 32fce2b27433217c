-- The build and the repository themselves: what is listed, and what the lists promise.

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

describe("the repository", function()
  it("gives the same version in the build file and the header", function()
    local build = read("CMakeLists.txt"):match("project%(moonfleet VERSION ([%d.]+)")
    local header = io.open("runtime/include/moonfleet.h", "rb")
    if not header then
      return pending("no header yet")
    end
    local text = header:read("a")
    header:close()
    assert.equal(build, text:match('#define MF_VERSION "([%d.]+)"'))
  end)
end)
