"""Small networks of many kinds, trained here, to measure int8 on models it was not developed on."""
