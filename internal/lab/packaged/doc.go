// Package packaged plays docs/install.md on machines of its own: Debian with systemd, in
// containers and network namespaces, from nothing but the package. It has tests only.
package packaged
