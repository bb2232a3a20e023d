package network

import "time"

// MaxHook is how long a program that an operation calls may take at most: somebody waits.
const MaxHook = Duration(15 * time.Minute)

// hooks checks the programs that operations call for a guest.
func (c *checker) hooks(path string, h *Hooks) {
	if h == nil {
		return
	}
	if h.Before == nil && h.After == nil {
		c.fail(path, CodeMissing, "write before: {run: NAME} or after: {run: NAME}, or remove hooks:", "the hooks call nothing")
	}
	c.hook(path+".before", h.Before)
	c.hook(path+".after", h.After)
	if h.After != nil && h.After.Veto {
		c.fail(path+".after.veto", CodeConflict, "remove veto:, or write the hook under before:", "a hook that is called when the guest serves can stop nothing")
	}
}

func (c *checker) hook(path string, h *Hook) {
	if h == nil {
		return
	}
	c.program(path+".run", h.Run)
	if h.Within < Duration(time.Second) || h.Within > MaxHook {
		c.fail(path+".within", CodeRange, "write within: 1m", "within %s is not between 1s and %s", h.Within, MaxHook)
	}
}

// program checks the name of a program: what it runs stands in each site's own file.
func (c *checker) program(path, name string) {
	const hint = "write the program's name in wwwd.yaml (programs:), such as run: announce"
	switch {
	case name == "":
		c.fail(path, CodeMissing, hint, "the program's name is missing")
	case !IsLabel(name):
		c.fail(path, CodeBadName, hint, "program %s is a name, with lower-case letters, digits and dashes; command lines stand in wwwd.yaml only", Quote(name))
	}
}
