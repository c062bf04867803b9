"""x"""
PACKAGES=()
