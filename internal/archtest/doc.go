// Package archtest holds one test: that the import arrows of design section 3
// point one way, and that the core is pure. It reads the sources; it runs
// nothing and needs no network.
package archtest
