-- What mf.with("thread") gives.

return require("moonfleet.with").make("thread")
